"""One command's work in a child, its output in files, so that several can run at a time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ..core.fork import Fork, flush
from ..core.processes import report_to
from ..errors import CheckFailed
from .ending import INTERNAL_ERROR
from .guard import code_of, guarded
from .streams import give_stdout


@dataclass
class Job:
    """One job, and the folder with the files that hold its process's output.

    Attributes:
        name: Names it in errors.
        folder: Holds ``out`` and ``err``, which ``start`` makes.
        code: The exit code, once it has ended.
        killed: The end of its process in words if somebody else ended it: another run need not meet that.
    """

    name: str
    folder: Path
    code: int | None = None
    killed: str = ""

    @property
    def output(self) -> str:
        """Return its standard output."""
        return (self.folder / "out").read_text(encoding="utf-8", errors="replace")

    @property
    def error(self) -> str:
        """Return its standard error."""
        return (self.folder / "err").read_text(encoding="utf-8", errors="replace")

    def prepare(self) -> None:
        """Make the files, so that they are there also if the child ends before it prints anything."""
        self.folder.mkdir(exist_ok=True)
        for stream in ("out", "err"):
            (self.folder / stream).unlink(missing_ok=True)
            (self.folder / stream).touch(0o600)

    def end(self, code: int) -> None:
        """Take the exit code of its process; a job that a signal ended, as when memory ran out, has failed."""
        if code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
            with (self.folder / "err").open("a", encoding="utf-8") as stream:
                stream.write(f"error: the process of {self.name} {how}; run it alone\n")
            self.killed = f"its process {how}"
        self.code = CheckFailed.exit_code if code < 0 else code

    def take_output(self) -> None:
        """Have what this process prints go to the files, after what is there."""
        for stream, direct in (("out", give_stdout), ("err", _give_stderr)):
            descriptor = os.open(self.folder / stream, os.O_WRONLY | os.O_APPEND)
            direct(descriptor)
            os.close(descriptor)

    def start(self, run: Callable[[], NoReturn]) -> Fork:
        """Return the process of a child that calls ``run``, guarded."""
        return fork(lambda: self._be_child(run))

    def _be_child(self, run: Callable[[], NoReturn]) -> NoReturn:
        """Do the job and end."""
        self.take_output()
        # A child of its own for the work: a crash of native code is a line of this job.
        guarded(run)


def fork(work: Callable[[], NoReturn], *, in_child: Callable[[], object] = lambda: None) -> Fork:
    """Return a child that calls ``work`` and ends with the code that this exits with; ``in_child`` is called first."""
    parent, child = os.getpid(), Fork()

    def begin() -> None:
        # A child that is asked to end before it is on its own would end as its parent does, taking its siblings.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        in_child()

    def be_child() -> NoReturn:
        code = INTERNAL_ERROR
        try:
            report_to(None)
            work()
        except SystemExit as end:
            code = code_of(end)
        finally:
            flush()
            os._exit(code)

    try:
        child.start(be_child, in_child=begin)
        return child
    finally:
        if os.getpid() != parent:  # whatever it was, the child does not go back to where the parent is
            os._exit(INTERNAL_ERROR)


def _give_stderr(descriptor: int) -> None:
    os.dup2(descriptor, 2)


def use_threads(count: int) -> None:
    """Have PyTorch compute with so many threads, whether it is there already or not yet."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if sys.modules.get("torch") is not None:
        from ..engines.torch_runtime import set_threads

        set_threads(count)
