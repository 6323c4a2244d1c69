"""Find the place at which one runtime leaves another, without PyTorch: both run the same named values.

The allowance at a value is not guessed: the reference runs once more on inputs moved by a rounding or two, and what
that changes there, scaled to what the recorded floors say of the outputs, stands for PyTorch's own rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..arrays import Array, Arrays
from ..boundaries import GraphView, Node, Opener, ort_opener
from ..cases import Case
from ..comparison import Comparison, compare
from ..metrics import UNIT_ROUNDOFF, Floor, measure
from ..place import Boundary
from .location import Location
from .watching import PASS_BYTES, passes, watch


@dataclass(frozen=True)
class Side:
    """A graph file and how it is run; by default in ONNX Runtime as the graph is written."""

    path: Path
    opener: Opener | None = None

    @property
    def open(self) -> Opener:
        return self.opener or ort_opener(optimise=False)


def locate_between(
    reference: Side, other: Side, case: Case, modules: Mapping[str, str], *, floors: Mapping[str, Floor] | None = None
) -> Location | None:
    """Return the first module and node at which ``other`` leaves ``reference`` on ``case``; None if no output does.

    ``modules`` maps node names of ``other`` to module paths (the manifest's ``modules``), ``floors`` are the recorded
    ones of the outputs. Values are compared by name: both sides hold the same graph, or one made of the other in which
    a name still stands for the same value. Needs no PyTorch, so class and line stay empty.
    """
    with GraphView(reference.path, {}) as truth, GraphView(other.path, modules) as view:
        return _Between(truth, reference.open, view, other.open, case, floors or {}).find()


class _Between:
    def __init__(
        self,
        truth: GraphView,
        truth_opener: Opener,
        view: GraphView,
        opener: Opener,
        case: Case,
        floors: Mapping[str, Floor],
    ) -> None:
        self.truth, self.truth_opener, self.view, self.opener = truth, truth_opener, view, opener
        self.feeds = case.feeds
        self.nudged = nudged(self.feeds)
        self.floors = floors
        self.scale = 1.0
        self.hiding: set[str] = set()
        self.ratios: dict[str, Comparison] = {}
        self.boundaries: tuple[Boundary, ...] = ()

    def find(self) -> Location | None:
        if not self._outputs_differ():
            return None
        shared = [name for node in self.view.nodes for name in self.view.floats(node.outputs)]
        shared = [name for name in shared if name in self.truth.producer]
        at_boundary = set(self.view.outputs)
        for path in {node.module for node in self.view.nodes}:
            at_boundary.update(self.view.leaving(path))
        right, wrong = self._judge([name for name in shared if name in at_boundary])
        self.boundaries = self._boundaries()
        first = next((name for node in self.view.nodes for name in node.outputs if name in wrong), None)
        if first is None:
            return None
        region = self.view.back([first], right)
        inner = {name for node in region for name in node.outputs} & set(shared)
        more_right, more_wrong = self._judge(sorted(inner - at_boundary))
        right, wrong = right | more_right, wrong | more_wrong
        return self._named([node for node in region if not right.issuperset(self.view.floats(node.outputs))], wrong)

    def _outputs_differ(self) -> bool:
        expected = self.truth.values_at(self.truth_opener, self.feeds, ())
        moved = self.truth.values_at(self.truth_opener, self.nudged, ())
        for name, floor in self.floors.items():
            # The nudge stands for one rounding of the inputs; all the roundings on the way are more.
            own = measure(moved[name], expected[name].astype(np.float64)).l2 if name in moved else 0.0
            self.scale = max(self.scale, floor.l2 / own if own else 1.0)
        received = self.view.values_at(self.opener, self.feeds, ())
        return self._differ(expected, received, moved)

    def _differ(self, expected: Arrays, received: Arrays, moved: Arrays) -> bool:
        names, largest = [name for name in self.view.outputs if name in expected], _largest(expected)
        found = (self._compare(name, expected[name], received[name], moved[name], largest) for name in names)
        return any(not comparison.passed for comparison in found)

    def _compare(self, name: str, expected: Array, received: Array, moved: Array, largest: float) -> Comparison:
        wide = expected.astype(np.float64) if expected.dtype.kind == "f" else expected
        return compare(name, received, wide, _times(measure(moved, wide), self.scale), largest, budget=math.inf)

    def _judge(self, names: Sequence[str]) -> tuple[set[str], dict[str, Comparison]]:
        right: set[str] = set(self.view.inputs)
        wrong: dict[str, Comparison] = {}
        # A value takes its size three times, as float32: expected, moved and received.
        rows = max((value.shape[0] for value in self.feeds.values() if value.ndim), default=1)
        for group in passes(names, lambda name: 12 * self.view.elements(name, rows), PASS_BYTES):
            expected = self.truth.values_at(self.truth_opener, self.feeds, group)
            moved = self.truth.values_at(self.truth_opener, self.nudged, group)
            for name, value in self._received(group, expected, moved).items():
                found = self.ratios[name] = self._compare(name, expected[name], value, moved[name], _largest(expected))
                if found.passed:
                    right.add(name)
                else:
                    wrong[name] = found
        return right, wrong

    def _received(self, group: Sequence[str], expected: Arrays, moved: Arrays) -> Arrays:
        """Return the other side's values, from runs whose outputs differ."""
        received, hiding = watch(
            group,
            lambda names: self.view.values_at(self.opener, self.feeds, names),
            lambda outputs: self._differ(expected, outputs, moved),
        )
        self.hiding |= hiding
        return received

    def _named(self, suspects: Sequence[Node], wrong: Mapping[str, Comparison]) -> Location | None:
        if not suspects:
            return None
        node = suspects[0]
        own = [wrong[name] for name in node.outputs if name in wrong]
        ratio = own[0].ratio if own else math.inf
        proof = self._alone(node)
        if proof is None:
            text = "it could not be cut out and fed alone"
        elif proof.passed:
            text = "the node alone, fed the reference's values, is right: the fault lies elsewhere"
        else:
            text = f"the node alone, fed the reference's values, is off by {proof.ratio:.3g} allowances"
        if self.hiding:
            text += f"; looking at {', '.join(sorted(self.hiding)[:3])} makes the difference vanish"
        proven = proof is not None and not proof.passed
        return replace(Location.of(node.module, None, node, ratio, text, proven=proven), boundaries=self.boundaries)

    def _boundaries(self) -> tuple[Boundary, ...]:
        """Return what leaves each module, in the order of the graph."""
        made = [(node.module, name) for node in self.view.nodes for name in node.outputs if name in self.ratios]
        return tuple(
            Boundary(module, "leave", found.ratio, "right" if found.passed else "wrong")
            for module, found in ((module, self.ratios[name]) for module, name in made)
        )

    def _alone(self, node: Node) -> Comparison | None:
        """Run one node of the other side on the reference's values."""
        outputs = self.view.floats(node.outputs)
        inputs = [name for name in node.inputs if name not in self.feeds]
        if not outputs or not {*inputs, *outputs} <= self.truth.producer.keys():
            return None
        expected = self.truth.values_at(self.truth_opener, self.feeds, [*inputs, *outputs])
        moved = self.truth.values_at(self.truth_opener, self.nudged, outputs)
        feeds = {name: self.feeds.get(name, expected.get(name)) for name in node.inputs}
        known = {name: np.ascontiguousarray(value) for name, value in feeds.items() if value is not None}
        path = self.view.cut([node], known, outputs[:1])
        try:
            with self.opener(path) as session:
                received = session.run(known)[outputs[0]]
                return self._compare(outputs[0], expected[outputs[0]], received, moved[outputs[0]], _largest(expected))
        except Exception:  # the cut may not run: then nothing is proven
            return None


def nudged(feeds: Arrays) -> Arrays:
    """The inputs, every float moved by up to two roundings."""
    rng = np.random.default_rng(0)

    def move(value: Array) -> Array:
        if value.dtype.kind != "f":
            return value
        factor = 1 + 2 * UNIT_ROUNDOFF * rng.choice([-2.0, -1.0, 1.0, 2.0], size=value.shape)
        return np.asarray(value * factor, dtype=value.dtype)

    return {name: move(value) for name, value in feeds.items()}


def _times(floor: Floor, factor: float) -> Floor:
    return Floor(floor.l2 * factor, floor.max * factor, floor.channel * factor)


def _largest(values: Arrays) -> float:
    floats = (value for value in values.values() if value.dtype.kind == "f" and value.size)
    return max((float(np.abs(value).max()) for value in floats), default=0.0)
