"""A copy of this process that does work of its own, while this one waits, heeds signals and counts the time."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from .processes import die_with_parent

# Signals that ask a process to end. One that was ignored when the command began (nohup) stays ignored.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name))


class Fork:
    """A child process, from ``start`` on; ``pid`` is None before that, in the child, and once its end is known."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self._code: int | None = None

    def start(
        self,
        work: Callable[[], NoReturn],
        *,
        in_child: Callable[[], object],
        in_parent: Callable[[], object] = lambda: None,
    ) -> None:
        """Have a child call ``work``; it ends with this process, and what it raises leaves this call there.

        ``in_child`` and ``in_parent`` are called on either side before a signal of STOPPING can arrive there: each
        side knows by then what to do with one.
        """
        flush()
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            self.pid = os.fork() or None
            if self.pid is None:
                die_with_parent()
                if os.getppid() != parent:  # killed before the kernel was asked: nobody would end this one
                    os._exit(1)
                in_child()
            else:
                in_parent()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if self.pid is None:
            work()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless the process has ended."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Return the exit code (negative: a signal) if the process has ended."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Wait for the end; returns the exit code (negative: a signal)."""
        code = self._reap(0)
        assert code is not None
        return code

    def descriptors(self) -> list[int]:
        """Return a new descriptor that can be read once the process has ended; none if the system has no such."""
        try:
            return [os.pidfd_open(self.pid or 0)]
        except (AttributeError, OSError):
            return []

    def _reap(self, options: int) -> int | None:
        if self.pid is not None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | options):
            child, self.pid = self.pid, None  # its number may be another process's from here on
            self._code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return self._code


def heeded() -> list[signal.Signals]:
    """Return the signals of STOPPING that are not ignored."""
    return [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]


def flush() -> None:
    """Write out what Python holds back for stdout and stderr, so that no other process writes it again."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
