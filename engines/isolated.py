"""ONNX Runtime in a process of its own: a crash, an out-of-memory kill or a hang there is an error here, no more."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import errors, processes
from ..errors import CheckFailed
from .channel import receive, send
from .ort_runtime import CPU
from .runtime import Arrays

RUN_SECONDS = 900


class IsolatedRuntime:
    """``OrtRuntime`` behind a pipe, with the same errors; CheckFailed where its process dies or does not answer.

    The process starts at once and loads the model meanwhile; ``load`` waits until it has. ``seconds`` is the time
    limit of loading and of every run.
    """

    def __init__(
        self,
        model: Path,
        *,
        optimise: bool = True,
        provider: str = CPU,
        threads: int | None = None,
        seconds: float = RUN_SECONDS,
    ) -> None:
        self._seconds = seconds
        self._death = ""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        options = json.dumps({"optimise": optimise, "provider": provider, "threads": threads})
        self._child = subprocess.Popen(
            processes.command("engines.isolated_child", str(model), options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._about: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """What runs the model, in words."""
        return str(self.load()["name"])

    def load(self) -> dict[str, Any]:
        """Wait for the model; raises what ``OrtRuntime`` raises where it does not load."""
        if self._about is None:
            self._about = self._answer("loading the model")[0]
        return self._about

    def __enter__(self) -> IsolatedRuntime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._log):
            if stream is not None:
                _close(stream)

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name. Raises what ``OrtRuntime.run`` raises, and CheckFailed where the process is gone."""
        self.load()
        if self._death:
            raise CheckFailed(self._death)
        assert self._child.stdin is not None
        try:
            send(self._child.stdin, {}, feeds)
        except OSError:
            raise CheckFailed(self._obituary("running the model")) from None
        return self._answer("running the model")[1]

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
            raise CheckFailed(self._obituary(doing))
        header, arrays = message
        if "error" in header:
            kind = getattr(errors, header["kind"], CheckFailed) if header["kind"] else CheckFailed
            raise kind(header["error"])
        return header, arrays

    def _give_up(self, doing: str) -> None:
        self._death = f"ONNX Runtime did not finish {doing} within {self._seconds:g} s"
        self._child.kill()

    def _obituary(self, doing: str) -> str:
        if not self._death:
            code = self._child.wait()
            self._log.seek(0)
            how = processes.ending(code, self._log.read().decode(errors="replace"))
            self._death = f"{doing}, ONNX Runtime's process {how}"
        return self._death


def _close(stream: Any) -> None:
    try:
        stream.close()
    except OSError:  # what was not yet written has no reader any more
        return
