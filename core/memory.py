"""The memory of the machine and of child processes, and the limit on those that work on what somebody else wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ..errors import InputError

VARIABLE = "ATTN2TRT_MEMORY_BYTES"
SHARE = 0.75  # of the machine's memory, for each child
# In the words of Python, PyTorch, C++ and the system.
SHORTAGES = ("MemoryError", "bad_alloc", "can't allocate memory", "not enough memory", "Cannot allocate memory")
_most: ContextVar[int] = ContextVar("most", default=0)


def is_shortage(said: str) -> bool:
    """Return True if a message says that memory ran out."""
    return any(words in said for words in SHORTAGES)


def limit() -> int:
    """Return the most bytes that a worker may take that starts now; 0 without a limit."""
    return _most.get()


def advice(most: int, said: str) -> str:
    """Return what to do about a worker that ended with these words within a limit, behind a semicolon; "" for none."""
    if not most or not is_shortage(said):
        return ""
    more = "raise --memory-limit" if most < child_bytes() else "run it on a machine with more memory"
    return f"; it may take {most / 2**30:.3g} GiB of memory; {more}, or give smaller sizes"


@contextmanager
def children_take(most: int) -> Iterator[None]:
    """Let every worker that starts within take at most so many bytes of memory."""
    before = _most.set(most)
    try:
        yield
    finally:
        _most.reset(before)


def environment() -> Mapping[str, str]:
    """Return what a child's environment must have so that ``limit_own`` finds the limit; nothing without one."""
    return {VARIABLE: str(_most.get())} if _most.get() else {}


def limit_own() -> None:
    """In a child: keep to the limit that its environment names.

    A larger allocation raises MemoryError, or ends native code. Windows has no such limit.
    """
    most = int(os.environ.get(VARIABLE, "0"))
    if not most:
        return
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def machine_bytes() -> int:
    """Return the memory of this machine; 0 if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def child_bytes(gib: float | None = None) -> int:
    """Return the most memory of a child: so many GiB, or a share of the machine's.

    Raises InputError for GiB that are no memory.
    """
    if gib is None:
        return int(machine_bytes() * SHARE)
    if not 0 < gib * 2**30 < 2**63:
        raise InputError(f"received a memory limit of {gib:g} GiB; expected one above 0; give the GiB of a process")
    return int(gib * 2**30)


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has in use; 0 if the system does not tell (Linux does)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError, IndexError):
        return 0
