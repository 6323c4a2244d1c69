"""A worker: a process of its own that answers messages on a stdout that nothing else can write to.

A crash, an out-of-memory kill or a hang in it is an error here, no more. Its exit code proves nothing: what it does
not answer has not been done.
"""

from __future__ import annotations

import logging
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

from ..errors import Interrupted
from . import idle_threads, memory, processes
from .channel import Message, raise_failure, receive, send

Self = TypeVar("Self", bound="Worker")
log = logging.getLogger(__name__)


class Worker:
    """The parent's end of a worker, used in a ``with`` statement, after which the process is gone.

    The process starts at once, so that it can get ready while this one goes on.

    Args:
        module: The module of this package whose ``main`` gets ``arguments``.
        arguments: Strings.
        who: Names the worker in errors.
        seconds: Time limit of every answer.
        environment: Is added to this process's own.
    """

    def __init__(
        self, module: str, *arguments: str, who: str, seconds: float, environment: Mapping[str, str] | None = None
    ) -> None:
        self.seconds = seconds
        self.how = ""
        self._who = who
        self._most = memory.limit()
        self._since = time.perf_counter()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            processes.command(module, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**idle_threads.environment(), **memory.environment(), **(environment or {})},
        )
        log.info("%s starts in process %d; each answer may take %g s", who, self.pid, seconds)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code of a process that has ended (negative: a signal)."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """Everything that the process wrote to stderr, and to a stdout that was not for it."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                _close(stream)
        log.info("%s in process %d is done after %.2f s", self._who, self.pid, time.perf_counter() - self._since)

    def tell(self, header: Mapping[str, Any], payload: bytes = b"") -> bool:
        """Send one message; returns False if there is no process to read it any more."""
        assert self._process.stdin is not None
        try:
            send(self._process.stdin, header, payload)
        except OSError:
            return False
        return True

    def answer(self, doing: str) -> Message:
        """Wait for the next answer; ``doing`` names in an error what the process was at.

        Raises the error that the process answers with, and Interrupted if it dies or takes too long. ``how`` has then
        in words how it ended.
        """
        assert self._process.stdout is not None
        # Reading a pipe with a time limit would take other calls on every system; killing the writer ends the read.
        timer = threading.Timer(self.seconds, self._give_up, [doing])
        timer.daemon = True  # an interrupt while it starts must not leave the interpreter waiting for it
        try:
            timer.start()
            message = receive(self._process.stdout)
        finally:
            timer.cancel()
        if message is None or self.how:
            raise self.gone(doing)
        raise_failure(message[0])
        return message

    def gone(self, doing: str) -> Interrupted:
        """Return the error of a process that has ended without an answer; the same one whenever it is asked again."""
        if not self.how:
            self.how = processes.ending(self._process.wait(), self.output)
            log.info("%s in process %d %s", self._who, self.pid, self.how)
            self._error = f"{doing}, {self._who}'s process {self.how}{memory.advice(self._most, self.output)}"
        return Interrupted(self._error)

    def _give_up(self, doing: str) -> None:
        self.how = f"did not finish {doing} within {self.seconds:g} s"
        log.info("%s in process %d %s and is killed", self._who, self.pid, self.how)
        self._error = f"{self._who} {self.how}"
        self._process.kill()


def _close(stream: Any) -> None:
    try:
        stream.close()
    except OSError:  # what was not yet written has no reader any more
        return
