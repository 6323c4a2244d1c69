"""The trials to make a graph faster, and their outcome: the numbers of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.plain_data import plain
from .machine import Conditions
from .method import Method
from .paired import Difference


@dataclass(frozen=True)
class Trial:
    """Some nodes of a graph in another form: ``difference`` is the whole graph's latency with it less without it."""

    form: str
    kind: str
    count: int
    before_ms: float
    difference: Difference
    kept: bool


@dataclass(frozen=True)
class Tuning:
    """All trials, in the order in which they were made, and the whole at the end against the graph as it was.

    ``before_ms`` and ``after_ms`` are medians; both and ``difference`` are None if no rewrite was kept.
    """

    sizes: Mapping[str, int]
    threads: int
    method: Method
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    conditions: Conditions
    trials: tuple[Trial, ...]
    before_ms: float | None = None
    after_ms: float | None = None
    difference: Difference | None = None

    @property
    def is_faster(self) -> bool:
        """Return True if the rewritten graph is faster beyond doubt."""
        return self.difference is not None and self.difference.is_faster

    @property
    def where(self) -> str:
        """Return the runtime and the machine in words."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"ONNX Runtime on the CPU, {threads}, {self.machine.get('cpu', '')}"

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        found: dict[str, Any] = plain(self)
        return found


@dataclass(frozen=True)
class PlanTuning(Tuning):
    """The trials to make a plan faster; times are the GPU's own, of plans that are launched as CUDA graphs.

    Attributes:
        runtime: The TensorRT that builds and runs, with its version.
        precision: Of the graph.
        profiles: The ranges that the plans were built for.
        flags: What the builder was given.
        gpu: The GPU.
        chosen: The rewrites of the graph that is faster as a whole; none if it is none.
        builds: Of each graph that was built its name and seconds, or why there is no plan.
        not_tried: Why a graph was not built.
    """

    runtime: str = ""
    precision: str = ""
    profiles: tuple[str, ...] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    gpu: str = ""
    chosen: tuple[str, ...] = ()
    builds: tuple[Mapping[str, Any], ...] = ()
    not_tried: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Return the runtime and the machine in words."""
        return f"{self.runtime} in {self.precision} as a CUDA graph, {self.gpu}"
