"""The cost of a block on a GPU: what one run found of a bundle's plan, and of the plain backbone's beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.plain_data import plain
from ...modules.stages import stage_of, stages_in_order
from ..tensorrt.layer_costs import LayerCost
from .costs import Timing
from .machine import Conditions
from .method import Method
from .paired import Difference
from .stage_costs import ELSEWHERE, Profile

PLAIN, WHOLE = "plain backbone", "(itself)"
# More of the profiler's time than this that no layer of the inspector has is doubtful.
UNKNOWN_SHARE = 0.05


@dataclass(frozen=True)
class Rates:
    """The speed that the GPU reached in the same run.

    Attributes:
        bytes_per_s: Bytes read and written a second by large copies in the GPU's memory.
        launch_ms: The time of a CUDA graph that copies four bytes, which no plan goes below.
    """

    bytes_per_s: float
    launch_ms: float

    def ms(self, moved: int | None) -> float | None:
        """Return the milliseconds that so many bytes take; None if they are unknown."""
        return None if moved is None else moved / self.bytes_per_s * 1e3


@dataclass(frozen=True)
class Part:
    """The layers of one stage of a network or, of a block, of one module: their time, and that of blocks among it."""

    name: str
    ms: float
    block_ms: float


@dataclass(frozen=True)
class PlanModel:
    """A plan, timed as a CUDA graph by the GPU's clock, and layer by layer with TensorRT's profiler.

    Attributes:
        name: The bundle's name.
        plan: The plan's file in its bundle.
        timing: Of the whole as a CUDA graph.
        least_bytes: The graph's inputs, outputs and weights, each once; None if a size is unknown.
        layers: Each layer.
        calls: The number of calls that were profiled.
    """

    name: str
    plan: str
    timing: Timing
    least_bytes: int | None
    layers: tuple[LayerCost, ...]
    calls: int

    @property
    def ms(self) -> float:
        """Return the median of the whole."""
        return self.timing.latency.median_ms

    @property
    def layers_ms(self) -> float:
        """Return the sum over the layers."""
        return _ms(self.layers)

    @property
    def moved_bytes(self) -> int:
        """Return what the layers read and write together as the plan fuses them, as far as it is known."""
        return sum(layer.bytes or 0 for layer in self.layers)

    @property
    def uncounted(self) -> int:
        """Return the number of layers that run and whose bytes are unknown."""
        return sum(layer.bytes is None and bool(layer.ms) for layer in self.layers)

    @property
    def unknown_ms(self) -> float:
        """Return the time of what the inspector does not list."""
        return _ms(layer for layer in self.layers if not layer.kind)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return the sums over the layers of each stage, of a model without stages of each module, as they run.

        A layer counts where the first of its modules is; one of no module comes last.
        """
        paths = [layer.modules[0] for layer in self.layers if layer.modules]
        names = stages_in_order(paths) if any(map(stage_of, paths)) else {path: path or WHOLE for path in paths}
        found: dict[str, list[LayerCost]] = {name: [] for name in (*names.values(), ELSEWHERE)}
        for layer in self.layers:
            found[names[layer.modules[0]] if layer.modules else ELSEWHERE].append(layer)
        sums = (
            Part(name, _ms(layers), _ms(one for one in layers if one.place == "block"))
            for name, layers in found.items()
        )
        return tuple(part for part in sums if part.ms)

    def to_json(self, rates: Rates) -> dict[str, Any]:
        """Return every field by name, with the limits at these rates."""
        return {
            "name": self.name,
            "plan": self.plan,
            "timing": plain(self.timing),
            "least_bytes": self.least_bytes,
            "least_ms": rates.ms(self.least_bytes),
            "moved_bytes": self.moved_bytes,
            "moved_ms": rates.ms(self.moved_bytes),
            "uncounted": self.uncounted,
            "layers_ms": self.layers_ms,
            "calls": self.calls,
            "parts": plain(self.parts),
            "layers": [
                {**plain(layer), "share": self.share(layer), "least_ms": rates.ms(layer.bytes)} for layer in self.layers
            ],
        }

    def share(self, layer: LayerCost) -> float:
        """Return a layer's share of the sum over the layers."""
        return (layer.ms or 0.0) / self.layers_ms if self.layers_ms else 0.0


def _ms(layers: Iterable[LayerCost]) -> float:
    return sum(layer.ms or 0.0 for layer in layers)


@dataclass(frozen=True)
class BlockOnDevice:
    """A block in its backbone, by the profiler.

    Attributes:
        path: Its module path.
        kind: The block's name.
        ms: The time of the layers that compute nothing else.
        shared_ms: The time of the layers that compute something of the rest, too.
        least_bytes: What it reads of the rest, its weights, and what the rest reads of it, each once.
    """

    path: str
    kind: str
    ms: float
    shared_ms: float
    least_bytes: int | None

    def to_json(self, rates: Rates) -> dict[str, Any]:
        """Return every field by name, with the limit at these rates."""
        return {**plain(self), "least_ms": rates.ms(self.least_bytes)}


@dataclass(frozen=True)
class Beside:
    """The plain backbone, the difference that the block makes to it, and both stage by stage."""

    plain: PlanModel
    difference: Difference
    profile: Profile


@dataclass(frozen=True)
class DeviceCost:
    """All of one run on a GPU. ``beside`` is None without the plain backbone's bundle.

    ``reference`` is the bundle's hash of what was recorded, ``inputs`` are the sizes of the inputs by name; ``blocks``
    is empty for a block that is the whole model.
    """

    target: str
    bundle: str
    runtime: str
    built_by: str
    gpu: str
    precision: str
    inputs: Mapping[str, tuple[int, ...]]
    method: Method
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    conditions: Conditions
    rates: Rates
    model: PlanModel
    blocks: tuple[BlockOnDevice, ...] = ()
    beside: Beside | None = None
    reference: str = ""

    @property
    def blocks_least_ms(self) -> float | None:
        """Return the limit of all blocks together; None if there is none, or that of one is unknown."""
        found = [self.rates.ms(block.least_bytes) for block in self.blocks]
        return None if not found or None in found else sum(one for one in found if one is not None)

    def to_json(self) -> dict[str, Any]:
        """The whole document."""
        beside = self.beside
        return {
            "target": self.target,
            "bundle": self.bundle,
            "reference": self.reference,
            "runtime": self.runtime,
            "built_by": self.built_by,
            "gpu": self.gpu,
            "precision": self.precision,
            "inputs": plain(self.inputs),
            "method": self.method.to_json(),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "conditions": plain(self.conditions),
            "rates": plain(self.rates),
            "model": self.model.to_json(self.rates),
            "blocks": [block.to_json(self.rates) for block in self.blocks],
            "blocks_least_ms": self.blocks_least_ms,
            "beside": None
            if beside is None
            else {
                "plain": beside.plain.to_json(self.rates),
                "difference": plain(beside.difference),
                "profile": beside.profile.to_json(),
            },
            "warnings": self.warnings(),
        }

    def warnings(self) -> list[str]:
        """Return what makes some of the numbers doubtful, one line for each kind."""
        models = [self.model] if self.beside is None else [self.beside.plain, self.model]
        found = self.conditions.remarks()
        unsteady = [model.name for model in models if not model.timing.latency.steady]
        if unsteady:
            found.append(f"the latency varies by more than 2.5 %: {', '.join(unsteady)}")
        for model in models:
            if model.unknown_ms > UNKNOWN_SHARE * model.layers_ms:
                found.append(
                    f"{model.unknown_ms:.4f} ms of {model.name} are in layers that the inspector does not list; they "
                    "belong to no module"
                )
        return found
