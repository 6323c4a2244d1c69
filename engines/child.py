"""A process of our own that answers messages: its crash, out-of-memory kill or hang is an error here, no more."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any, TypeVar

from .. import errors
from ..core import processes
from ..errors import Attn2trtError, CheckFailed, Interrupted
from .channel import receive, send
from .runtime import Arrays, Runtime

ANSWER_SECONDS = 900
Self = TypeVar("Self", bound="Child")


class Child:
    """The other end of a pipe, with the same errors; Interrupted if the process dies or does not answer.

    ``module`` is the module of this package whose ``main`` gets ``arguments``; ``who`` names it in errors. The process
    starts at once and loads meanwhile; ``load`` waits until it has. ``seconds`` is the time limit of every answer.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        who: str,
        seconds: float = ANSWER_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._who = who
        self._seconds = seconds
        self._death = ""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._child = subprocess.Popen(
            processes.command(module, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **(environment or {})},
        )
        self._about: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """What runs the model, in words."""
        return str(self.load()["name"])

    def load(self) -> dict[str, Any]:
        """Wait for the model; raises what the runtime raises where it does not load."""
        if self._about is None:
            self._about = self._answer("loading the model")[0]
        return self._about

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._log):
            if stream is not None:
                _close(stream)

    def ask(self, doing: str, header: Mapping[str, Any], arrays: Arrays | None = None) -> tuple[dict[str, Any], Arrays]:
        """One message and its answer; ``doing`` says in an error what the process was at."""
        self.load()
        if self._death:
            raise Interrupted(self._death)
        if not self.tell(header, arrays):
            raise Interrupted(self._obituary(doing))
        return self._answer(doing)

    def tell(self, header: Mapping[str, Any], arrays: Arrays | None = None) -> bool:
        """One message; whether there is still a process to read it."""
        assert self._child.stdin is not None
        try:
            send(self._child.stdin, header, arrays)
        except OSError:
            return False
        return True

    def _answer(self, doing: str) -> tuple[dict[str, Any], Arrays]:
        assert self._child.stdout is not None
        # Reading a pipe with a time limit would take other calls on every system; killing the writer ends the read.
        timer = threading.Timer(self._seconds, self._give_up, [doing])
        timer.start()
        try:
            message = receive(self._child.stdout)
        finally:
            timer.cancel()
        if message is None or self._death:
            raise Interrupted(self._obituary(doing))
        header, arrays = message
        if "error" in header:
            kind = getattr(errors, header["kind"], CheckFailed) if header["kind"] else CheckFailed
            raise kind(header["error"])
        return header, arrays

    def _give_up(self, doing: str) -> None:
        self._death = f"{self._who} did not finish {doing} within {self._seconds:g} s"
        self._child.kill()

    def _obituary(self, doing: str) -> str:
        if not self._death:
            code = self._child.wait()
            self._log.seek(0)
            how = processes.ending(code, self._log.read().decode(errors="replace"))
            self._death = f"{doing}, {self._who}'s process {how}"
        return self._death


def failure(error: Exception) -> Mapping[str, Any]:
    """The header that tells the parent of an error; one of ours keeps its type."""
    kind = type(error).__name__ if isinstance(error, Attn2trtError) else ""
    text = str(error) if kind else f"{type(error).__name__}: {error}"
    return {"error": " ".join(text.split()), "kind": kind}


def serve(runtime: Runtime, answers: IO[bytes], *, more: Mapping[str, Callable[[], Arrays]] | None = None) -> None:
    """In the child: run every message's arrays and answer with the outputs, until the parent closes stdin.

    A message that asks for one of ``more`` by its "do" is answered with what that returns.
    """
    calls = more or {}
    with runtime:
        while (message := receive(sys.stdin.buffer)) is not None:
            header, arrays = message
            try:
                call = calls.get(header.get("do", ""))
                outputs = call() if call is not None else runtime.run(arrays)
            except Exception as error:
                send(answers, failure(error))
            else:
                send(answers, {}, outputs)


def _close(stream: Any) -> None:
    try:
        stream.close()
    except OSError:  # what was not yet written has no reader any more
        return
