"""The time of a backbone with and without its blocks, from ONNX Runtime's profile of both graphs: stage by stage, and
in the blocks operator by operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...core.module_path import is_within
from ...modules.stages import stages_in_order
from ..node_times import LAYOUT, NodeTimes

ELSEWHERE = "no module"
# ONNX Runtime's name of an operator that does the work of those behind it, too
FUSED = "Fused"
# The unit of ONNX Runtime's profile: a limit below it is no measure of what one operator took.
CLOCK_MS = 1e-3


@dataclass(frozen=True)
class StageCost:
    """Milliseconds of a stage's operators, medians over the calls.

    ``plain_ms`` are the plain backbone's, ``plain_layout_ms`` among them for those that only bring tensors into
    another layout. With the block: ``rest_ms`` of the backbone's own operators, ``layout_ms`` of the layouts, and
    ``block_ms`` of the block's.
    """

    stage: str
    plain_ms: float
    plain_layout_ms: float
    rest_ms: float
    layout_ms: float
    block_ms: float

    @property
    def with_block_ms(self) -> float:
        """All of the stage, with the block."""
        return self.rest_ms + self.layout_ms + self.block_ms

    @property
    def more_layout_ms(self) -> float:
        """Return what layouts take more with the block."""
        return self.layout_ms - self.plain_layout_ms

    @property
    def more_rest_ms(self) -> float:
        """Return what the backbone's own operators take more with the block, layouts left out."""
        return self.rest_ms - (self.plain_ms - self.plain_layout_ms)

    @property
    def difference_ms(self) -> float:
        """Return the time with the block less that without."""
        return self.with_block_ms - self.plain_ms

    def to_json(self) -> dict[str, Any]:
        """The numbers by name."""
        return {**asdict(self), "with_block_ms": self.with_block_ms, "difference_ms": self.difference_ms}


@dataclass(frozen=True)
class KindCost:
    """All operators of one type inside the blocks: how many ran, what they took, and their limit by the graph.

    ``count`` and ``ms`` are 0 for a type that ONNX Runtime made part of another; ``limit_ms`` is 0 for one that it put
    in.
    """

    kind: str
    count: int
    ms: float
    limit_ms: float

    @property
    def is_above_clock(self) -> bool:
        """True if the limit of one such operator is as long as the profile can tell."""
        return self.limit_ms >= self.count * CLOCK_MS

    @property
    def times_limit(self) -> float | None:
        """The time in limits; None if nothing ran, or the limit is nothing that the profile can tell."""
        return self.ms / self.limit_ms if self.ms and self.limit_ms and self.is_above_clock else None


@dataclass(frozen=True)
class Limited:
    """An operator of the graph as it was exported: the module that it is in, "" if none is known, and its limit."""

    home: str
    kind: str
    ms: float


@dataclass(frozen=True)
class Profile:
    """The stages in order, the blocks' operators, the slowest first, and what the profile itself does to the numbers.

    ``plain_slowdown`` and ``slowdown`` are the latency with the profile over that without, of the plain backbone and
    of the target; ``calls`` is how many of the target were profiled.
    """

    stages: tuple[StageCost, ...]
    calls: int
    plain_slowdown: float
    slowdown: float
    kinds: tuple[KindCost, ...] = ()

    @property
    def total(self) -> StageCost:
        """All stages as one."""
        names = ("plain_ms", "plain_layout_ms", "rest_ms", "layout_ms", "block_ms")
        return StageCost("all", *(float(sum(getattr(stage, name) for stage in self.stages)) for name in names))

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        return {
            "calls": self.calls,
            "plain_slowdown": self.plain_slowdown,
            "slowdown": self.slowdown,
            "stages": [stage.to_json() for stage in self.stages],
            "total": self.total.to_json(),
            "block_operators": [asdict(kind) for kind in self.kinds],
        }


@dataclass(frozen=True)
class Run:
    """One graph's profile. ``homes`` is the module path of each node, as far as it is known; ``paths`` are those of the
    graph as it was exported, in the order in which they run."""

    nodes: NodeTimes
    homes: Mapping[str, str]
    paths: tuple[str, ...]
    slowdown: float


def profile_of(plain: Run, target: Run, blocks: Sequence[str], limits: Iterable[Limited] = ()) -> Profile:
    """The stages of both; ``blocks`` are the module paths of the blocks in the target, ``limits`` its operators'."""
    before, after = _times(plain, ()), _times(target, blocks)
    order = dict.fromkeys((*stages_in_order(target.paths).values(), *stages_in_order(plain.paths).values(), ELSEWHERE))
    found = [
        StageCost(
            stage,
            before.get((stage, "rest"), 0.0) + before.get((stage, "layout"), 0.0),
            before.get((stage, "layout"), 0.0),
            *(after.get((stage, part), 0.0) for part in ("rest", "layout", "block")),
        )
        for stage in order
    ]
    shown = tuple(stage for stage in found if stage.plain_ms or stage.with_block_ms)
    kinds = _kinds(target, blocks, limits)
    return Profile(shown, len(target.nodes.microseconds), plain.slowdown, target.slowdown, kinds)


def _times(run: Run, blocks: Sequence[str]) -> dict[tuple[str, str], float]:
    """Milliseconds by (stage, part)."""
    stages = stages_in_order(run.paths)
    columns: dict[tuple[str, str], list[int]] = {}
    for place, (name, kind) in enumerate(zip(run.nodes.names, run.nodes.kinds, strict=True)):
        home = run.homes.get(name)
        stage = ELSEWHERE if home is None else stages[home]
        part = "layout" if kind in LAYOUT else "block" if home is not None and is_within(home, blocks) else "rest"
        columns.setdefault((stage, part), []).append(place)
    return {key: _milliseconds(run, chosen) for key, chosen in columns.items()}


def _kinds(run: Run, blocks: Sequence[str], limits: Iterable[Limited]) -> tuple[KindCost, ...]:
    """The operators inside the blocks by type, layouts left out, which are counted in the stages."""
    columns: dict[str, list[int]] = {}
    least: dict[str, float] = {}
    for place, (name, kind) in enumerate(zip(run.nodes.names, run.nodes.kinds, strict=True)):
        if kind not in LAYOUT and is_within(run.homes.get(name, ""), blocks):
            columns.setdefault(kind.removeprefix(FUSED), []).append(place)
    for limited in limits:
        if is_within(limited.home, blocks):
            least[limited.kind] = least.get(limited.kind, 0.0) + limited.ms
    found = [
        KindCost(kind, len(columns.get(kind, ())), _milliseconds(run, columns.get(kind, [])), least.get(kind, 0.0))
        for kind in dict.fromkeys((*columns, *least))
    ]
    return tuple(sorted(found, key=lambda cost: -cost.ms))


def _milliseconds(run: Run, columns: Sequence[int]) -> float:
    """Return the median over the calls of the sum of these nodes."""
    return float(np.median(run.nodes.microseconds[:, columns].sum(1))) / 1e3
