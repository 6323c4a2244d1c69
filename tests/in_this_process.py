"""A model that is compared and warmed up in this process: a test that sets the times itself needs no other one."""

from __future__ import annotations

from typing import Any

from attn2trt.engines.timing.runners import OrtRunner


class InThisProcess:
    """A stand-in for ``TimedProcess``."""

    def __init__(self, runner: OrtRunner, *, threads: int) -> None:
        self._runtime = runner.open(threads)
        self.device_times: list[int] = []

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @property
    def name(self) -> str:
        return "ONNX Runtime"

    def load(self) -> dict[str, Any]:
        return {}

    def run(self, feeds: Any) -> Any:
        return self._runtime.run(feeds)

    def prepare(self, *_: object, **__: object) -> None:
        return None

    def warm_up(self, _: float) -> None:
        return None

    def cpu_seconds(self) -> float:
        return 0.0
