"""Where in a backbone the time goes with and without its blocks, from ONNX Runtime's profile of both graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...modules.stages import stages_in_order
from ..node_times import LAYOUT, NodeTimes

ELSEWHERE = "not told"


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
        """What layouts take more with the block."""
        return self.layout_ms - self.plain_layout_ms

    @property
    def more_rest_ms(self) -> float:
        """What the backbone's own operators take more with the block, layouts left out."""
        return self.rest_ms - (self.plain_ms - self.plain_layout_ms)

    @property
    def difference_ms(self) -> float:
        """With the block less without."""
        return self.with_block_ms - self.plain_ms

    def to_json(self) -> dict[str, Any]:
        """The numbers by name."""
        return {**asdict(self), "with_block_ms": self.with_block_ms, "difference_ms": self.difference_ms}


@dataclass(frozen=True)
class Profile:
    """The stages in order, and what the profile itself does to the numbers.

    ``plain_slowdown`` and ``slowdown`` are the latency with the profile over that without, of the plain backbone and
    of the target; ``calls`` is how many of the target were profiled.
    """

    stages: tuple[StageCost, ...]
    calls: int
    plain_slowdown: float
    slowdown: float

    @property
    def total(self) -> StageCost:
        """All stages as one."""
        names = ("plain_ms", "plain_layout_ms", "rest_ms", "layout_ms", "block_ms")
        return StageCost("all", *(float(sum(getattr(stage, name) for stage in self.stages)) for name in names))

    def to_json(self) -> dict[str, Any]:
        """Everything by name."""
        return {
            "calls": self.calls,
            "plain_slowdown": self.plain_slowdown,
            "slowdown": self.slowdown,
            "stages": [stage.to_json() for stage in self.stages],
            "total": self.total.to_json(),
        }


@dataclass(frozen=True)
class Run:
    """One graph's profile. ``homes`` is the module path of each node, as far as it is known; ``paths`` are those of the
    graph as it was exported, in the order in which they run."""

    nodes: NodeTimes
    homes: Mapping[str, str]
    paths: tuple[str, ...]
    slowdown: float


def profile_of(plain: Run, target: Run, blocks: Sequence[str]) -> Profile:
    """The stages of both; ``blocks`` are the module paths of the blocks in the target."""
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
    return Profile(shown, len(target.nodes.microseconds), plain.slowdown, target.slowdown)


def _times(run: Run, blocks: Sequence[str]) -> dict[tuple[str, str], float]:
    """Milliseconds by (stage, part): of each call the sum, of these the median."""
    stages = stages_in_order(run.paths)
    columns: dict[tuple[str, str], list[int]] = {}
    for place, (name, kind) in enumerate(zip(run.nodes.names, run.nodes.kinds, strict=True)):
        home = run.homes.get(name)
        stage = ELSEWHERE if home is None else stages[home]
        part = "layout" if kind in LAYOUT else "block" if home is not None and _inside(home, blocks) else "rest"
        columns.setdefault((stage, part), []).append(place)
    return {key: float(np.median(run.nodes.microseconds[:, chosen].sum(1))) / 1e3 for key, chosen in columns.items()}


def _inside(path: str, blocks: Sequence[str]) -> bool:
    return any(path == block or path.startswith(f"{block}.") for block in blocks)
