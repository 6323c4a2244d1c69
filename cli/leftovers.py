"""Processes that user code started and left behind end with the command, so that they hold nothing of it.

The kernel gives orphans of the working process to the guard, if the guard asks for them (Linux).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
ROUNDS = 100


def adopt() -> frozenset[int]:
    """Ask for the orphans of this process's children; returns the children that it has already, which are not ours."""
    if sys.platform != "linux":
        return frozenset()
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    return frozenset(_children())


def end(not_ours: frozenset[int]) -> None:
    """Kill every child but ``not_ours``, and what becomes a child by that."""
    for _ in range(ROUNDS):
        left = set(_children()) - not_ours
        if not left:
            return
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        for child in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _children() -> list[int]:
    """Return the numbers of this process's children."""
    me = str(os.getpid())
    found = []
    for entry in Path("/proc").iterdir() if sys.platform == "linux" else ():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                # "pid (name) state parent …", and the name may hold anything
                if (entry / "stat").read_text().rpartition(")")[2].split()[1] == me:
                    found.append(int(entry.name))
    return found
