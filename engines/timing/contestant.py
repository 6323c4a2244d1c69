"""One model in one runtime in a process of its own, which times itself: the pipe is no part of what is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.bundle import spec_to_json
from ...core.tensor_spec import TensorSpec
from ..child import ANSWER_SECONDS, Child
from ..node_times import NodeTimes
from ..ort_runtime import FLOAT32_ALONE
from ..runtime import Arrays
from .method import Limits


@dataclass(frozen=True)
class TorchJob:
    """A catalog's or a user's module: what is built, at which sizes, with which weights, and how it runs.

    ``half`` is float16 with maps channels last; ``graphed`` has a CUDA graph launch its kernels.
    """

    spec: str
    shapes: tuple[str, ...]
    seed: int
    weights: Path
    output_names: tuple[str, ...]
    compiled: bool = False
    on_gpu: bool = False
    half: bool = False
    graphed: bool = False


@dataclass(frozen=True)
class OrtJob:
    """A graph file and the provider that must run it; ``profile`` is a folder where it notes what each node takes."""

    model: Path
    provider: str
    profile: Path | None = None


@dataclass(frozen=True)
class PlanJob:
    """A TensorRT plan and what ``isolated.checked`` says of it; ``graphed`` has a CUDA graph launch its kernels."""

    plan: Path
    about: str
    graphed: bool = False


Job = TorchJob | OrtJob | PlanJob
_KINDS = {TorchJob: ("torch", "PyTorch"), OrtJob: ("ort", "ONNX Runtime"), PlanJob: ("plan", "TensorRT")}


class Contestant(Child):
    """``job`` in a process of its own with ``threads`` threads; raises CheckFailed where that process dies or hangs."""

    def __init__(self, job: Job, *, threads: int, seconds: float = ANSWER_SECONDS) -> None:
        kind, who = _KINDS[type(job)]
        message = json.dumps({"kind": kind, "threads": threads, **asdict(job)}, default=str)
        environment = {
            "OMP_NUM_THREADS": str(threads),
            # a plan's kernels were chosen when it was built
            **({} if kind == "plan" else FLOAT32_ALONE),
            # processes that compile beside each other would outlive their use
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        super().__init__(
            "engines.timing.contestant_child",
            message,
            who=who,
            seconds=seconds,
            environment=environment,
        )
        self.device_times: list[int] = []

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name."""
        return self.ask("running the model", {"do": "run"}, feeds)[1]

    def prepare(self, specs: Sequence[TensorSpec], sizes: Mapping[str, int], *, sets: int) -> None:
        """Make so many sets of inputs; from here on the peak of memory counts."""
        message = {"do": "prepare", "inputs": [spec_to_json(spec) for spec in specs], "sizes": dict(sizes)}
        self.ask("preparing the inputs", {**message, "sets": sets})

    def warm_up(self, seconds: float) -> None:
        """Call the model for so long, and once at least."""
        self.ask("warming up", {"do": "warm up", "seconds": seconds})

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        """Nanoseconds of each call; what a GPU took of those on rotated inputs is added to ``device_times``."""
        message = {"do": "turn", "limits": asdict(limits), "hot": hot}
        found = self.ask("being timed", message)[1]
        if not hot:
            self.device_times += [int(value) for value in found["device"]]
        return [int(value) for value in found["nanoseconds"]]

    def node_times(self) -> NodeTimes:
        """What each node of a job with a ``profile`` took in every call until now; once."""
        header, arrays = self.ask("telling what each node took", {"do": "profile"})
        return NodeTimes(tuple(header["names"]), tuple(header["kinds"]), arrays["microseconds"])

    def usage(self) -> dict[str, Any]:
        """``peak_mib`` (None where unknown), whether it ``counts_from_load``, and ``cpu_seconds`` used until now."""
        return self.ask("being timed", {"do": "usage"})[0]
