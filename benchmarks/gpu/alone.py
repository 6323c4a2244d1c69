"""Keep two runs on one GPU out of each other's timings, by locks in a folder that both know.

``beside`` is held by what may run with others, ``alone`` by what is timed. Whoever waits to be alone holds the turn, so
that nothing new begins meanwhile: without it one command after another would put the timing off for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

LOCK, TURN = "alone.lock", "turn.lock"


@contextlib.contextmanager
def beside(folder: Path | None) -> Iterator[None]:
    """Run beside others, not while something of the run in ``folder`` is alone. Without a folder nothing is held."""
    with _held(folder, exclusive=False):
        yield


@contextlib.contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Run when all that is beside others has ended, and let nothing begin meanwhile."""
    with _held(folder, exclusive=True):
        yield


@contextlib.contextmanager
def _held(folder: Path | None, *, exclusive: bool) -> Iterator[None]:
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        with (folder / TURN).open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
