"""One command's work in a child of its own, its output in files, so that several can run at a time."""

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
from .guard import Killed, guarded
from .streams import give_stdout


@dataclass
class Job:
    """One job, and the folder with the files that hold its process's output.

    Attributes:
        name: Names it in errors.
        folder: Holds ``out`` and ``err``, which ``start`` makes.
        code: The exit code, once it has ended.
        killed: The signal's line if somebody else ended its process: another run need not meet that.
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
        self._mark.unlink(missing_ok=True)

    def end(self, code: int) -> None:
        """Take the exit code of its process; a job that a signal ended, as when memory ran out, has failed."""
        if code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
            with (self.folder / "err").open("a", encoding="utf-8") as stream:
                stream.write(f"error: the process of {self.name} {how}; run it alone\n")
            self.killed = f"its process {how}"
        elif self._mark.exists():
            self.killed = self._mark.read_text(encoding="utf-8", errors="replace")
            self._mark.unlink()
        self.code = CheckFailed.exit_code if code < 0 else code

    @property
    def _mark(self) -> Path:
        """The file in which a child says that its own child was killed."""
        return self.folder / "killed"

    def start(self, run: Callable[[], NoReturn], *, in_child: Callable[[], object] = lambda: None) -> Fork:
        """Return the process of a child that calls ``run``, guarded; ``in_child`` is called there first."""
        parent, child = os.getpid(), Fork()

        def begin() -> None:
            # A child that is asked to end before it is on its own would end as its parent does, taking its siblings.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            in_child()

        try:
            child.start(lambda: self._be_child(run), in_child=begin)
            return child
        finally:
            if os.getpid() != parent:  # whatever it was, the child does not go back to where the parent is
                os._exit(INTERNAL_ERROR)

    def _be_child(self, run: Callable[[], NoReturn]) -> NoReturn:
        """Do the job and end."""
        code = INTERNAL_ERROR
        try:
            report_to(None)
            out, err = (os.open(self.folder / name, os.O_WRONLY | os.O_TRUNC) for name in ("out", "err"))
            give_stdout(out)
            os.dup2(err, 2)
            # A child of its own for the work: a crash of native code is a line of this job.
            guarded(run)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
            if isinstance(end, Killed):
                self._mark.write_text(end.how, encoding="utf-8")
        finally:
            flush()
            os._exit(code)


def use_threads(count: int) -> None:
    """Have PyTorch compute with so many threads, whether it is there already or not yet."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if sys.modules.get("torch") is not None:
        from ..engines.torch_runtime import set_threads

        set_threads(count)
