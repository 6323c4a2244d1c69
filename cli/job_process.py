"""A process that runs command lines one after another, in a child that stays for as long as it is as good as a new one.

A copy of a process pays for each page of memory that it touches, and begins without what PyTorch keeps of earlier
exports. For a small model that is a fifteenth of its time, so commands that cannot harm each other share a child.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from ..core.channel import receive, send
from ..core.command_line import CommandLine
from ..core.fork import flush
from ..core.memory import resident_bytes
from ..core.processes import leave_if_copy, note, stage_seconds
from .guard import Guard, Killed, code_of
from .job import Job, fork, use_threads
from .streams import claim_stdout
from .warm import import_modules, report_modules, take_modules

Run = Callable[[list[str], CommandLine], NoReturn]
# A child that has grown beyond this is replaced.
KEPT_BYTES = 2 << 30
# The exit codes of a command after which its child is as good as a new one: it has come to a verdict.
STAYS = (0, 1)
# Orders that share a child have the same of these.
ALIKE = ("cwd", "environment", "threads")


class JobProcess:
    """The process, from its parent's side.

    Args:
        run: Runs a command line.
        in_child: Is called in the process first, to close what is the parent's alone.

    Attributes:
        job: The job that it runs.
    """

    def __init__(self, run: Run, *, in_child: Callable[[], object]) -> None:
        self.job: Job | None = None
        self._socket, theirs = socket.socketpair()
        self._stream = _stream(self._socket)

        def begin() -> None:
            self.close()
            in_child()

        self._fork = fork(lambda: _serve(theirs, run), in_child=begin)
        theirs.close()

    def fileno(self) -> int:
        """Return a descriptor that can be read when the job has ended."""
        return self._socket.fileno()

    @property
    def is_free(self) -> bool:
        """True if it can be given a job."""
        return self.job is None and self._fork.poll() is None

    def start(self, job: Job, order: Mapping[str, Any]) -> None:
        """Have it run a job."""
        self.job = job
        with contextlib.suppress(OSError):  # it is gone, which `take` finds
            send(self._stream, order)

    def rest(self) -> None:
        """Have it end the child that stays for the next job, and the memory that this holds."""
        with contextlib.suppress(OSError):
            send(self._stream, {"rest": True})

    def take(self) -> Job | None:
        """Return the job if it has ended, with its end; the process is then free, or gone."""
        if self.job is None or not select.select([self], [], [], 0)[0]:
            return None
        job, self.job = self.job, None
        try:
            answer = receive(self._stream)
        except OSError:
            answer = None
        if answer is None:
            job.end(self._fork.wait())
        else:
            job.code, job.killed = answer[0]["code"], answer[0]["killed"]
        return job

    def ask_to_end(self) -> None:
        """Ask it to end; a command that runs cleans up."""
        self._fork.kill(signal.SIGKILL if self.job is None else signal.SIGTERM)
        self.close()

    def wait(self) -> None:
        """Wait for its end; its guard bounds the time that this takes."""
        self._fork.wait()

    def close(self) -> None:
        """Close the parent's end of the socket."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._socket.close()


def _stream(connection: socket.socket) -> IO[bytes]:
    return cast("IO[bytes]", connection.makefile("rwb"))


def _serve(connection: socket.socket, run: Run) -> NoReturn:
    """Run in the process: answer each order with the end of its command."""
    stream = _stream(connection)
    child = _Child(run, connection)
    while not child.was_interrupted and (message := receive(stream)) is not None:
        if "rest" in message[0]:
            child.end()
        else:
            send(stream, child.do(message[0]))
    sys.exit(0)


class _Child:
    """The child that works, from its guard's side; replaced by a new one as often as it has to be."""

    def __init__(self, run: Run, connection: socket.socket) -> None:
        self.was_interrupted = False
        self._run = run
        self._connection = connection
        self._guard: Guard | None = None
        self._orders: IO[bytes] | None = None
        self._alike: list[Any] = []
        self._modules: list[str] = []

    def do(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Run a command; return its exit code, and the end of its process in words if somebody else killed it."""
        job = Job(order["name"], Path(order["folder"]))
        job.take_output()
        alike = [order["may_share"], *(order[name] for name in ALIKE)]
        if self._guard is None or alike != self._alike or self._guard.child.poll() is not None:
            self.end()
        guard, orders = self._started()
        self._alike = alike
        code, killed = 0, ""
        try:
            with contextlib.suppress(OSError):  # it has just been killed, which the guard finds
                send(orders, order)
            guard.finish(may_stay=True)
        except SystemExit as end:
            code = code_of(end)
            killed = end.how if isinstance(end, Killed) else ""
        self._modules += take_modules(job.folder)
        resident = resident_bytes(guard.child.pid or 0)
        if not order["may_share"] or code not in STAYS or not 0 < resident <= KEPT_BYTES:
            self.end()
        return {"code": code, "killed": killed}

    def end(self) -> None:
        """Kill the child if there is one, and what it has left behind."""
        if self._guard is not None and self._orders is not None:
            self._guard.end()
            self.was_interrupted |= self._guard.was_interrupted
            with contextlib.suppress(OSError):  # it may not have read all
                self._orders.close()
        self._guard = self._orders = None

    def _started(self) -> tuple[Guard, IO[bytes]]:
        """Return the child that is there, or fork one, with the modules that those before it had to load."""
        if self._guard is None or self._orders is None:
            import_modules(self._modules)
            self._modules.clear()
            reader, writer = os.pipe()

            def work() -> NoReturn:
                self._connection.close()
                os.close(writer)
                with os.fdopen(reader, "rb") as orders:
                    _run_each(orders, self._run)

            self._guard = Guard(work)
            os.close(reader)
            self._orders = os.fdopen(writer, "wb")
        return self._guard, self._orders


def _run_each(orders: IO[bytes], run: Run) -> NoReturn:
    """Run in the child: run each command that comes until one ends without a verdict."""
    limit = stage_seconds()
    while (message := receive(orders)) is not None:
        order = message[0]
        job = Job(order["name"], Path(order["folder"]))
        job.take_output()
        claim_stdout()
        note(stage="starting", seconds=limit)
        os.chdir(order["cwd"])
        os.environ.update(order["environment"])
        if order["threads"]:
            use_threads(order["threads"])
        sys.argv = ["attn2trt", *order["arguments"]]
        line = CommandLine(order["shown"])
        line.moved = job.folder, Path(order["shown_folder"])
        before, code = set(sys.modules), 0
        try:
            run(order["arguments"], line)
        except SystemExit as end:
            code = code_of(end)
        leave_if_copy()
        flush()
        report_modules(before, job.folder)
        if code not in STAYS:
            sys.exit(code)
        note(finished=code)
    sys.exit(0)
