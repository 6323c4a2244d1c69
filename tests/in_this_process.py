"""A model in this process: a test that ends none in the middle needs no other process."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attn2trt.core.channel import failure, raise_failure
from attn2trt.core.graph import has_weights_beside
from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.engines.isolated_child import KERNELS
from attn2trt.engines.ort_runtime import CPU, OrtRuntime
from attn2trt.engines.runtime import Arrays
from attn2trt.engines.timing.runners import Runner, open_described
from attn2trt.engines.timing.timed_process import TimedProcess
from attn2trt.engines.timing.timed_process_child import Bench
from attn2trt.errors import Interrupted
from attn2trt.export.simplify_child import write_simplified
from attn2trt.validate.onnx_reference.child import Answering
from attn2trt.validate.onnx_reference.isolated import IsolatedEvaluator

# the methods that ``EvaluatorHere`` has in place of an ``IsolatedEvaluator``'s process, as they are with one
IN_A_PROCESS = {name: getattr(IsolatedEvaluator, name) for name in ("__init__", "__exit__", "load", "ask")}


class TimedHere(TimedProcess):
    """A stand-in for ``TimedProcess``: it loads as late, is sent the same messages, and raises the same errors.

    Two sets of inputs rotate in it at most, and one call warms it up.
    """

    def __init__(self, runner: Runner, *, threads: int) -> None:
        self._runner, self._threads = runner, threads
        self._bench: Bench | None = None
        self.device_times: list[int] = []

    def __enter__(self) -> TimedHere:
        return self

    def __exit__(self, *_: object) -> None:
        self._bench = None

    def load(self) -> dict[str, Any]:
        if self._bench is None:
            runner = json.loads(json.dumps(self._runner.to_json(), default=str))
            with as_from_a_worker():
                self._runtime = open_described(runner, self._threads)
            self._bench = Bench(self._runtime)
        return {"name": self._runtime.name}

    def prepare(self, specs: Sequence[TensorSpec], sizes: Mapping[str, int], *, sets: int) -> None:
        super().prepare(specs, sizes, sets=min(sets, 2))

    def warm_up(self, seconds: float) -> None:
        super().warm_up(0)

    def ask(self, doing: str, header: Mapping[str, Any], arrays: Arrays | None = None) -> tuple[dict[str, Any], Arrays]:
        self.load()
        assert self._bench is not None
        with as_from_a_worker():
            answer, outputs = self._bench.answer(json.loads(json.dumps(header)), arrays or {})
        return dict(answer), outputs or {}


@contextlib.contextmanager
def as_from_a_worker() -> Iterator[None]:
    """Raise every error as a worker's parent does."""
    try:
        yield
    except Exception as error:
        raise_failure(failure(error))


class SimplifierHere:
    """A stand-in for the ``Worker`` that simplifies a graph."""

    def __init__(self, module: str, **_: object) -> None:
        assert module == "export.simplify_child"
        self.how, self.output, self.exit_code = "", "", 0
        self._message: Mapping[str, str] = {}

    def __exit__(self, *_: object) -> None:
        return None

    def tell(self, message: Mapping[str, str]) -> None:
        self._message = message

    def answer(self, doing: str) -> None:
        try:
            write_simplified(**self._message)
        except Exception as error:
            self.how, self.exit_code = f"ended with exit code 1 {doing}: {error}", 1
            raise Interrupted(self.how) from error


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
        with as_from_a_worker():
            return self._runtime.run(feeds)


class EvaluatorHere(IsolatedEvaluator):
    """The methods of an ``IsolatedEvaluator`` without a process: it loads as late, and raises the same errors."""

    def __init__(self, path: Path, dtype: str, **_: object) -> None:
        self._path, self._dtype = path, dtype
        self._answering: Answering | None = None
        self.largest, self.choices, self.unreached = 0.0, [], []

    def __exit__(self, *_: object) -> None:
        self._answering = None

    def load(self) -> dict[str, Any]:
        if self._answering is None:
            with as_from_a_worker(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._answering = Answering(str(self._path), self._dtype)
        return self._answering.about

    def ask(self, doing: str, header: Mapping[str, Any], arrays: Arrays | None = None) -> tuple[dict[str, Any], Arrays]:
        self.load()
        assert self._answering is not None
        with as_from_a_worker(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sent = {name: np.array(value, order="C") for name, value in (arrays or {}).items()}
            answer, outputs = self._answering.answer(json.loads(json.dumps(header)), sent)
        return dict(answer), outputs
