"""The cost of a block: the numbers of one run, as measured and as counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.plain_data import plain
from ..roofline import Limit, Rates
from .latency import Latency
from .machine import Conditions
from .method import Method
from .paired import Difference
from .stage_costs import Profile


@dataclass(frozen=True)
class Timing:
    """One graph: its latency on rotated inputs and, ``hot``, on one and the same; one median for each round."""

    latency: Latency
    hot: Latency
    round_medians_ms: tuple[float, ...]


@dataclass(frozen=True)
class Model:
    """A whole graph, with what it moves and does; ``uncounted`` names the nodes that are not in that."""

    name: str
    timing: Timing
    limit: Limit
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockAlone:
    """A block as a graph of its own at one shape, and where in the backbone it stands at that shape.

    ``replaces`` is the class of what the plain backbone has there, "" if it has nothing.
    """

    kind: str
    shape: tuple[int, ...]
    paths: tuple[str, ...]
    model: Model
    replaces: str = ""

    @property
    def count(self) -> int:
        """Return how many there are."""
        return len(self.paths)

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        return {
            "kind": self.kind,
            "shape": [*self.shape],
            "paths": [*self.paths],
            "replaces": self.replaces,
            **{key: value for key, value in plain(self.model).items() if key != "name"},
        }


@dataclass(frozen=True)
class Added:
    """The cost that a block adds to its backbone.

    ``difference`` is the target's latency less the plain backbone's; ``control`` that of the plain backbone in a
    second process less that in the first, which would be nothing if the measurement were perfect.
    """

    plain: Model
    difference: Difference
    control: Difference
    blocks: tuple[BlockAlone, ...]
    profile: Profile

    @property
    def blocks_least_ms(self) -> float:
        """The limit of all blocks together, everything inside each of them fused."""
        return sum(block.count * block.model.limit.least_ms for block in self.blocks)

    @property
    def blocks_operators_ms(self) -> float:
        """The limit of all blocks together, one operator after the other."""
        return sum(block.count * block.model.limit.operators_ms for block in self.blocks)

    def blocks_alone_ms(self, call_ms: float) -> float:
        """All blocks as graphs of their own on inputs just used, each call less what an empty one takes."""
        return sum(block.count * max(0.0, block.model.timing.hot.median_ms - call_ms) for block in self.blocks)

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        return {
            "plain": plain(self.plain),
            "difference": plain(self.difference),
            "control": plain(self.control),
            "blocks": [block.to_json() for block in self.blocks],
            "profile": self.profile.to_json(),
        }


@dataclass(frozen=True)
class Cost:
    """All of one run. ``added`` is None if the target is a block, or a module, that stands alone.

    ``inputs`` are the sizes of the target's inputs by name.
    """

    target: str
    inputs: Mapping[str, tuple[int, ...]]
    threads: int
    method: Method
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    conditions: Conditions
    rates: Rates
    model: Model
    added: Added | None = None

    def to_json(self) -> dict[str, Any]:
        """The whole document."""
        call_ms = self.rates.call_ms
        found = self.added
        sums = (
            {}
            if found is None
            else {
                "blocks_alone_ms": found.blocks_alone_ms(call_ms),
                "blocks_operators_ms": found.blocks_operators_ms,
                "blocks_least_ms": found.blocks_least_ms,
            }
        )
        return {
            "target": self.target,
            "inputs": plain(self.inputs),
            "runtime": "ort-cpu",
            "precision": "float32",
            "threads": self.threads,
            "method": self.method.to_json(),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "conditions": plain(self.conditions),
            "rates": self.rates.to_json(),
            "model": plain(self.model),
            "added": None if found is None else {**found.to_json(), **sums},
            "warnings": self.warnings(),
        }

    def warnings(self) -> list[str]:
        """Return what makes some of the numbers doubtful, one line for each kind."""
        found = self.conditions.remarks()
        unsteady = [model.name for model in self._models() if not model.timing.latency.steady]
        if unsteady:
            found.append(f"the latency varies by more than 2.5 %: {', '.join(unsteady)}")
        if self.added is not None and self.added.control.is_clear:
            found.append(
                f"the plain backbone differs from itself by {self.added.control.ms:+.3f} ms: a difference as small as "
                "this is none"
            )
        uncounted = sorted({name for model in self._models() for name in model.uncounted})
        if uncounted:
            found.append(f"bytes and operations lack those of {len(uncounted)} nodes: {', '.join(uncounted[:5])}")
        return found

    def _models(self) -> Sequence[Model]:
        if self.added is None:
            return [self.model]
        return [self.added.plain, self.model, *(block.model for block in self.added.blocks)]
