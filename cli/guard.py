"""Do a command's work in a child process, so that what ends a process ends as one line and an exit code.

PyTorch, timm and a user's own code may crash, be killed for its memory, never come back, or end the process by
themselves. The exit code of the child proves nothing: it says over a pipe that it has finished, and with which code.
The parent has imported nothing heavy, so forking it costs milliseconds; without fork (Windows), the command runs in
the process itself.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..core import processes
from ..core.fork import Fork, flush, heeded
from ..core.idle_threads import let_threads_sleep
from ..core.processes import Notes
from ..errors import CheckFailed, InputError, StorageError
from . import leftovers
from .streams import claim_stdout, printable

INTERRUPTED = 130
# For a child to end by itself after it was asked to, after it reported that it has finished, or after its pipe closed.
GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05
# For the whole command to end after it was asked to: who asked waits for it, whatever hangs while it is cleaned up.
END_SECONDS = 30.0
AGAIN_SECONDS = 20.0  # until an interrupt that has led to no end is repeated: twice what a child's own end may take
SIGNAL_SECONDS = 0.5  # a signal does not end a wait, it changes how long to wait
# How seldom to search for cycles. PyTorch's exporter makes millions of small objects that stay, and is searched again
# and again by Python's own numbers: a fifteenth of the whole time of a deploy.
COLLECT_AFTER = (20_000, 20, 50)


class Killed(SystemExit):
    """The end of a command whose child a signal from elsewhere ended, as when memory ran out.

    Attributes:
        how: The end of the child, in words.
    """

    def __init__(self, code: int, how: str) -> None:
        super().__init__(code)
        self.how = how


@dataclass
class _Stop:
    """The signals that asked the command to end; a second one does not wait for the child."""

    child: Fork
    since: float | None = None

    def __call__(self, number: int, _frame: object) -> None:
        self.child.kill(number if self.since is None else signal.SIGKILL)
        if self.since is None:
            self.since = time.monotonic()
            _end_within(END_SECONDS)

    def heed(self) -> None:
        """Have every signal that asks for the end, and is not ignored, call this."""
        for number in heeded():
            signal.signal(number, self)


def guarded(run: Callable[[], NoReturn]) -> NoReturn:
    """Call ``run`` in a child process and exit with the code that it says; 1 if it ends without, 2 in user code."""
    if not hasattr(os, "fork"):
        run()
    Guard(run).finish()


class Guard:
    """A child that calls ``run``; one that does several things in turn notes ``finished`` after each.

    Attributes:
        child: The child.
    """

    def __init__(self, run: Callable[[], NoReturn]) -> None:
        self._not_ours = leftovers.adopt()
        self._reader, writer = os.pipe()

        def work() -> NoReturn:
            os.close(self._reader)
            _work(run, writer)

        self.child = Fork()
        self._stop = _Stop(self.child)
        self.child.start(work, in_child=interrupt_on_signals, in_parent=self._stop.heed)
        os.close(writer)
        os.set_blocking(self._reader, False)

    @property
    def was_interrupted(self) -> bool:
        """True if a signal asked for the end."""
        return self._stop.since is not None

    def finish(self, *, may_stay: bool = False) -> NoReturn:
        """Exit with the code of what the child does now; ``may_stay``: do not wait for the child's own end as well."""
        from ..core.scratch import remove_abandoned  # the child is at work meanwhile

        remove_abandoned()  # what an earlier command left
        notes = Notes()
        code, why_killed = _wait(self._reader, notes, self._stop, may_stay=may_stay)
        leftovers.end(self._not_ours | {self.child.pid or 0})
        remove_abandoned()  # what the child left, if it was killed
        if notes.destination:
            _clean(notes)
        if notes.finished is not None:
            sys.exit(notes.finished)
        _end_early(notes, code, why_killed, was_interrupted=self.was_interrupted)

    def end(self) -> None:
        """Kill the child if it is still there, and what it has started."""
        self.child.kill()
        self.child.wait()
        os.close(self._reader)
        leftovers.end(self._not_ours)


def _end_early(notes: Notes, code: int, why_killed: str, *, was_interrupted: bool) -> NoReturn:
    """Print the one line for a child that ended before it had finished, and exit."""
    _show_cursor()
    if was_interrupted or code == -signal.SIGINT:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    line, exit_code = _obituary(notes, why_killed or processes.ending(code), by_itself=code >= 0)
    print(f"error: {printable(' '.join(line.split()))}", file=sys.stderr)
    if code < 0 and not why_killed:
        raise Killed(exit_code, f"its process {processes.ending(code)}")
    sys.exit(exit_code)


def _end_within(seconds: float) -> None:
    """End this process after so long if nothing else has; its child ends with it."""
    _after(seconds, lambda *_: os._exit(INTERRUPTED))


def _after(seconds: float, call: Callable[..., object]) -> None:
    """Have the main thread call this after so long, in place of what was to be called; never on Windows."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, call)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def code_of(end: SystemExit) -> int:
    """Return the exit code that the interpreter would end with: 0 for None, 1 for a text."""
    return end.code if isinstance(end.code, int) else int(end.code is not None)


def interrupt_on_signals() -> None:
    """Turn each signal that asks for the end into one KeyboardInterrupt; while it is cleaned up, more are ignored.

    Libraries may catch it, Python drops what a finaliser raises, and one that leaves a lock taken has the cleaning up
    wait for ever. So another one follows, where a stage begins, at once or after AGAIN_SECONDS, and the process ends
    after END_SECONDS in any case.
    """
    asking = heeded()
    show = sys.unraisablehook

    def interrupt(_number: int, _frame: object) -> NoReturn:
        for number in asking:
            signal.signal(number, signal.SIG_IGN)
        _after(AGAIN_SECONDS, interrupt_again)
        processes.ask_to_end()

    def interrupt_again(_number: int, _frame: object) -> NoReturn:
        if not threading.main_thread().is_alive():  # all is done, and the interpreter waits for other threads
            os._exit(INTERRUPTED)
        _end_within(END_SECONDS - AGAIN_SECONDS)
        raise KeyboardInterrupt

    def not_raised(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is KeyboardInterrupt:
            _after(POLL_SECONDS, interrupt_again)
        else:
            show(lost)

    sys.unraisablehook = not_raised
    for number in asking:
        signal.signal(number, interrupt)


def _work(run: Callable[[], NoReturn], writer: int) -> NoReturn:
    """Call ``run`` in the child and tell the parent how it ended; what ends the process instead leaves that out."""
    processes.report_to(writer)
    claim_stdout()
    gc.set_threshold(*COLLECT_AFTER)
    # the last search, through all that PyTorch holds, takes seconds, and the system takes the memory back by itself
    atexit.register(gc.freeze)
    let_threads_sleep()
    code = 0
    try:
        run()
    except SystemExit as end:
        code = code_of(end)
    except KeyboardInterrupt:
        processes.leave_if_copy()
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    processes.leave_if_copy()
    flush()
    processes.note(finished=code)
    sys.stdout.close()  # flushed above; a warning of a stream left open would be printed as an error
    sys.stdout = sys.stderr  # what is printed while the interpreter ends is no result
    sys.exit(code)


def _wait(reader: int, notes: Notes, stop: _Stop, *, may_stay: bool) -> tuple[int, str]:
    """Wait for the child to end; returns its exit code (negative: a signal), and why it was killed here, if it was.

    A process that the child leaves behind may hold the pipe open: the child's own end is what counts. A child that
    ``may_stay`` need only say that it has finished.
    """
    ended = stop.child.descriptors()
    why_killed = ""
    try:
        while True:
            left = max(0.0, _patience(notes, stop)[0] - time.monotonic())
            watched = [] if notes.closed else [reader]
            select.select([*watched, *ended], [], [], min(left, SIGNAL_SECONDS if ended else POLL_SECONDS))
            notes.listen(reader)
            if (code := stop.child.poll()) is not None:
                notes.listen(reader)
                return code, why_killed
            if may_stay and notes.finished is not None and stop.since is None:
                return 0, ""
            patience, why = _patience(notes, stop)  # anew: this process may have come late to a word that was in time
            if time.monotonic() >= patience and not why_killed:
                why_killed = why
                stop.child.kill()
    finally:
        for descriptor in ended:
            os.close(descriptor)


def _patience(notes: Notes, stop: _Stop) -> tuple[float, str]:
    """Return until when to wait for the child's next word or end, and why it is killed after that."""
    if stop.since is not None:
        return stop.since + GRACE_SECONDS, "was interrupted"
    if notes.finished is not None:
        return notes.heard + GRACE_SECONDS, "had finished"
    if notes.closed:
        return notes.heard + GRACE_SECONDS, "closed the pipe that it reports by, as os.exec does"
    return notes.heard + notes.seconds, f"did not finish within {notes.seconds:g} s (--time-limit)"


def _obituary(notes: Notes, how: str, *, by_itself: bool) -> tuple[str, int]:
    """Return the line and the exit code for a child that ended as ``how`` says without having finished."""
    left = f"{notes.written} was written before" if notes.written else "nothing was written"
    if not by_itself:
        fix = "try smaller sizes, another --opset, or other versions of what attn2trt doctor lists"
        return f"{notes.stage}: the process {how}; {left}; {fix}", CheckFailed.exit_code
    if notes.calling:
        return f"{notes.calling}, and the process {how}; {left}; remove what ends it there", InputError.exit_code
    fix = "remove what ends the process from the module's code, as os._exit or os.exec"
    return f"{notes.stage}: the process {how} before the work was done; {left}; {fix}", CheckFailed.exit_code


def _clean(notes: Notes) -> None:
    """Remove the half bundle that the child left, and the folders that it made for one; a replaced one comes back."""
    from ..core.bundle_writer import recover

    with contextlib.suppress(OSError, StorageError):
        recover(Path(notes.destination))
    for folder in notes.made:
        with contextlib.suppress(OSError):  # something is in it
            Path(folder).rmdir()


def _show_cursor() -> None:
    """Restore the cursor that the child's progress line hid."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K\x1b[?25h")
