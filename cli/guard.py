"""Do a command's work in a child process, so that what ends a process ends as one line and an exit code.

PyTorch, timm and a user's own code may crash, be killed for its memory, never come back, or end the process by
themselves. The exit code of the child proves nothing: it says over a pipe that it has finished, and with which code.
The parent has imported nothing heavy, so forking it costs milliseconds; without fork (Windows), the command runs in
the process itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ..core import processes
from ..errors import CheckFailed, InputError, StorageError
from . import leftovers
from .streams import claim_stdout, flush, printable

INTERRUPTED = 130
# Signals that ask a command to end. One that was ignored when the command began (nohup) stays ignored.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name))
# For a child to end by itself after it was asked to, after it said that it has finished, or after its pipe closed.
GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05
SIGNAL_SECONDS = 0.5  # a signal does not end a wait, it changes how long to wait
NEWS = {
    "stage": str,
    "seconds": float | int,
    "calling": str,
    "destination": str,
    "made": list,
    "written": str,
    "finished": int,
}


@dataclass
class _Work:
    """The notes of the child so far, and the time of the last one."""

    stage: str = "starting"
    seconds: float = field(default_factory=processes.stage_seconds)
    calling: str = ""
    destination: str = ""
    made: list[str] = field(default_factory=list)
    written: str = ""
    finished: int | None = None
    heard: float = field(default_factory=time.monotonic)
    closed: bool = False
    rest: bytes = b""

    def listen(self, reader: int) -> None:
        """Take in everything that can be read now. Lines that are no note of ours are user code's, and left out."""
        while not self.closed:
            try:
                text = os.read(reader, 65536)
            except BlockingIOError:
                return
            self.heard = time.monotonic()
            self.closed = not text
            *lines, self.rest = (self.rest + text).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError, AttributeError):
                    for key, value in json.loads(line).items():
                        if key in NEWS and isinstance(value, NEWS[key]):
                            setattr(self, key, value)


@dataclass
class _Stop:
    """The signals that asked the command to end; a second one does not wait for the child."""

    child: int | None
    since: float | None = None

    def __call__(self, number: int, _frame: object) -> None:
        if self.child is not None:
            os.kill(self.child, number if self.since is None else signal.SIGKILL)
        self.since = time.monotonic() if self.since is None else self.since


def guarded(run: Callable[[], NoReturn]) -> NoReturn:
    """Call ``run`` in a child process and exit with the code that it says; 1 if it ends without, 2 in user code."""
    if not hasattr(os, "fork"):
        run()
    flush()
    not_ours = leftovers.adopt()
    reader, writer = os.pipe()
    with _signals_held_back():
        child = os.fork()
        if child:
            stop = _Stop(child)
            for number in _heeded():
                signal.signal(number, stop)
        else:
            interrupt_on_signals()
    if not child:
        os.close(reader)
        _work(run, writer)
    os.close(writer)
    work = _Work()
    code, why_killed = _wait(reader, work, stop)
    leftovers.end(not_ours)
    if work.destination:
        _clean(work)
    if work.finished is not None:
        sys.exit(work.finished)
    _show_cursor()
    if stop.since is not None or code == -signal.SIGINT:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    line, exit_code = _obituary(work, why_killed or processes.ending(code), by_itself=code >= 0)
    print(f"error: {printable(' '.join(line.split()))}", file=sys.stderr)
    sys.exit(exit_code)


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Have signals wait until the process that they reach knows what to do with them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heeded() -> list[signal.Signals]:
    return [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]


def interrupt_on_signals() -> None:
    """Turn each signal that asks for the end into one KeyboardInterrupt; while it is cleaned up, more are ignored."""
    heeded = _heeded()

    def interrupt(_number: int, _frame: object) -> NoReturn:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in heeded:
        signal.signal(number, interrupt)


def _work(run: Callable[[], NoReturn], writer: int) -> NoReturn:
    """Call ``run`` in the child and tell the parent how it ended; what ends the process instead leaves that out."""
    processes.die_with_parent()
    processes.report_to(writer)
    claim_stdout()
    code = 0
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        processes.leave_if_copy()
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    processes.leave_if_copy()
    flush()
    processes.note(finished=code)
    sys.stdout = sys.stderr  # what is printed while the interpreter ends is no result
    sys.exit(code)


def _wait(reader: int, work: _Work, stop: _Stop) -> tuple[int, str]:
    """Wait for the child to end; returns its exit code (negative: a signal), and why it was killed here, if it was.

    A process that the child leaves behind may hold the pipe open: the child's own end is what counts.
    """
    assert stop.child is not None
    os.set_blocking(reader, False)
    ended = _descriptor_of(stop.child)
    why_killed = ""
    while True:
        patience, why = _patience(work, stop)
        left = max(0.0, patience - time.monotonic())
        watched = [] if work.closed else [reader]
        select.select([*watched, *ended], [], [], min(left, SIGNAL_SECONDS if ended else POLL_SECONDS))
        work.listen(reader)
        if os.waitid(os.P_PID, stop.child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            work.listen(reader)
            child, stop.child = stop.child, None  # its number may be another process's from here on
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), why_killed
        if time.monotonic() >= patience and not why_killed:
            why_killed = why
            os.kill(stop.child, signal.SIGKILL)


def _descriptor_of(child: int) -> list[int]:
    """Return a descriptor that can be read once ``child`` has ended, if the system has such."""
    try:
        return [os.pidfd_open(child)]
    except (AttributeError, OSError):
        return []


def _patience(work: _Work, stop: _Stop) -> tuple[float, str]:
    """Return until when to wait for the child's next word or end, and why it is killed after that."""
    if stop.since is not None:
        return stop.since + GRACE_SECONDS, "was interrupted"
    if work.finished is not None:
        return work.heard + GRACE_SECONDS, "had finished"
    if work.closed:
        return work.heard + GRACE_SECONDS, "closed the pipe that it reports by, as os.exec does"
    return work.heard + work.seconds, f"did not finish within {work.seconds:g} s (--time-limit)"


def _obituary(work: _Work, how: str, *, by_itself: bool) -> tuple[str, int]:
    """Return the line and the exit code for a child that ended as ``how`` says without having finished."""
    left = f"{work.written} was written before" if work.written else "nothing was written"
    if not by_itself:
        fix = "try smaller sizes, another --opset, or other versions of what attn2trt doctor lists"
        return f"{work.stage}: the process {how}; {left}; {fix}", CheckFailed.exit_code
    if work.calling:
        return f"{work.calling}, and the process {how}; {left}; remove what ends it there", InputError.exit_code
    fix = "remove what ends the process from the module's code, as os._exit or os.exec"
    return f"{work.stage}: the process {how} before the work was done; {left}; {fix}", CheckFailed.exit_code


def _clean(work: _Work) -> None:
    """Remove the half bundle that the child left, and the folders that it made for one; a replaced one comes back."""
    from ..core.bundle_writer import recover

    with contextlib.suppress(OSError, StorageError):
        recover(Path(work.destination))
    for folder in work.made:
        with contextlib.suppress(OSError):  # something is in it
            Path(folder).rmdir()


def _show_cursor() -> None:
    """Restore the cursor that the child's progress line hid."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K\x1b[?25h")
