"""ONNX Runtime in a process of its own: a crash, an out-of-memory kill or a hang there is an error here, no more."""

from __future__ import annotations

import json
from pathlib import Path

from ..core import bounds
from ..core.precision import Kernels
from .child import ANSWER_SECONDS, Child
from .ort_runtime import CPU, FLOAT32_ALONE
from .runtime import Arrays


class IsolatedRuntime(Child):
    """``OrtRuntime`` behind a pipe, with the same errors; CheckFailed if its process dies or does not answer.

    The process starts at once and loads the model meanwhile; ``load`` waits until it has. Without a ``model`` it gets
    itself ready for the one that ``open`` names. ``kernels`` are ONNX Runtime's ``own``, those of a ``half`` precision,
    each operator rounding its result (float32_kernels.py), or those of ``tf32`` (tf32_kernels.py). A GPU
    computes float32 in tf32 only if ``tf32`` allows it. ``seconds`` is the time limit of loading and of every run.
    Raises MissingRequirement if ONNX Runtime, or what its models are made with, is too old.
    """

    def __init__(
        self,
        model: Path | None = None,
        *,
        optimise: bool = True,
        kernels: Kernels = "own",
        tf32: bool = False,
        provider: str = CPU,
        threads: int | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        bounds.require_within(*bounds.BASE)
        options = json.dumps({"optimise": optimise, "provider": provider, "threads": threads, "kernels": kernels})
        environment = {} if tf32 else FLOAT32_ALONE
        super().__init__(
            "engines.isolated_child", options, who="ONNX Runtime", seconds=seconds, environment=environment
        )
        if model is not None:
            self.open(model)

    def open(self, model: Path) -> None:
        """Let the process load this model, once."""
        self.tell({"model": str(model)})

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name. Raises what ``OrtRuntime.run`` raises, and CheckFailed if the process is gone."""
        return self.ask("running the model", {}, feeds)[1]
