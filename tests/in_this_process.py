"""A model in this process: a test that sets the times itself, or ends none in the middle, needs no other process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attn2trt.core.graph import has_weights_beside
from attn2trt.engines.isolated_child import KERNELS
from attn2trt.engines.ort_runtime import CPU, OrtRuntime
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


class RuntimeHere:
    """A stand-in for ``IsolatedRuntime``: it loads as late, by the same kernels, and raises the same errors."""

    def __init__(
        self,
        model: Path | None = None,
        *,
        optimise: bool = True,
        kernels: str = "own",
        tf32: bool = False,
        provider: str = CPU,
        threads: int | None = None,
    ) -> None:
        self._model, self._kernels = model, KERNELS[kernels]
        self._options: dict[str, Any] = {"optimise": optimise, "provider": provider, "threads": threads}
        self._runtime: OrtRuntime | None = None

    def __enter__(self) -> RuntimeHere:
        return self

    def __exit__(self, *_: object) -> None:
        self._runtime = None

    @property
    def name(self) -> str:
        return str(self.load()["name"])

    def open(self, model: Path) -> None:
        self._model = model

    def load(self) -> dict[str, Any]:
        if self._runtime is None:
            assert self._model is not None
            packs = not has_weights_beside(self._model)
            self._runtime = OrtRuntime(self._kernels(self._model), spinning=False, packs_weights=packs, **self._options)
        return {"name": self._runtime.name, "output_names": self._runtime.output_names}

    def run(self, feeds: Any) -> Any:
        self.load()
        assert self._runtime is not None
        return self._runtime.run(feeds)
