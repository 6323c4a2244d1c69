"""Wait for what another process does, without a guess of how long it takes; a process that hangs is an error here."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")
# Beyond what a loaded machine takes, and short enough that a hang is reported.
MOST_SECONDS = 120.0


def wait_for(what: Callable[[], Found], *, of: subprocess.Popen[Any] | None = None) -> Found:
    """Return the first answer that is not empty. ``of``: the process that brings it about, which must not end before.

    Raises AssertionError if it ends, or if nothing comes for MOST_SECONDS.
    """
    until = time.monotonic() + MOST_SECONDS
    while True:
        code = None if of is None else of.poll()  # before the question: what it brings about last counts
        if found := what():
            return found
        assert code is None, f"the process ended with {code}"
        assert time.monotonic() < until, f"nothing came in {MOST_SECONDS:g} s"
        time.sleep(0.01)


def wait_for_text(path: Path, *, of: subprocess.Popen[Any] | None = None) -> str:
    """Return what a process has written to a file, once there is something."""
    return wait_for(lambda: path.read_text() if path.exists() else "", of=of)


def is_running(pid: int) -> bool:
    """Return False for a process that has ended, also while nobody has asked how: process 1 may never do so."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def heeds(pid: int, number: signal.Signals) -> bool:
    """Return True once a process has a handler of its own for the signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)
