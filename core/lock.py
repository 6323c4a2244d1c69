"""Locks on folders. One is held by an open descriptor, so that it ends with its process, however that ends.

The kernel keeps them, so that processes in different pid namespaces see each other's; a number of a process says
nothing there. On a file system without locks on folders, as NFS, the number counts, on the machine that gave it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError

WAIT_SECONDS = 60.0
PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds; without a ``descriptor`` the file system has none, and nothing is held."""

    descriptor: int | None

    def release(self) -> None:
        """Give the lock back."""
        if self.descriptor is not None:
            os.close(self.descriptor)


def try_lock(folder: Path) -> Lock | None:
    """Lock ``folder``; returns None if another process, or another part of this one, has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return Lock(None)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        return None if isinstance(error, BlockingIOError) else Lock(None)
    return Lock(descriptor)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Hold the lock of ``folder``, or of the one that a link of this name leads to, waiting for others.

    Raises StorageError if none comes free within WAIT_SECONDS.
    """
    real, until = folder.resolve(), time.monotonic() + WAIT_SECONDS
    while (lock := try_lock(real)) is None:
        if time.monotonic() >= until:
            raise StorageError(
                f"another command has been writing in {folder} for {WAIT_SECONDS:g} s; expected it to end; wait for "
                "it, or end it if it hangs"
            )
        time.sleep(PAUSE_SECONDS)
    try:
        yield lock
    finally:
        lock.release()


def owner() -> str:
    """Return this process's part of the name of a folder that it works in: its number, and where that is valid."""
    return f"{os.getpid()}-{_place()}"


def is_abandoned(folder: Path) -> bool:
    """Return True if no process works in ``folder``, whose name ends with what ``owner`` returned to one.

    A folder that its process has removed meanwhile is not abandoned.
    """
    try:
        with abandoned(folder) as answer:
            return answer
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def abandoned(folder: Path) -> Iterator[bool]:
    """Yield what ``is_abandoned`` returns; no process can begin to work in the folder before the block ends."""
    lock = try_lock(folder)
    if lock is None:
        yield False
        return
    try:
        yield lock.descriptor is not None or _owner_is_gone(folder)
    finally:
        lock.release()


def _owner_is_gone(folder: Path) -> bool:
    _, number, *place = folder.name.rpartition(".")[2].split("-")
    return place[:1] in ([], [_place()]) and not _is_running(int(number))


def _place() -> str:
    """Name the machine and the pid namespace, in eight digits."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]  # noqa: PTH115
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _is_running(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not _has_ended(pid)


def _has_ended(pid: int) -> bool:
    """Return True for one that has ended and keeps its number: its parent has not asked how, and may never do so."""
    with contextlib.suppress(OSError):  # a system without /proc
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False
