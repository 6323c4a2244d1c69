"""Choose among a few nodes: compare values inside a module with what PyTorch's operators in that module compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..arrays import Array
from ..boundaries import Node
from .eager_calls import Sight
from .homes import Homes
from .judge import Judge
from .observed import Observed
from .truth import Truth


class Operators:
    """Vouch for values by PyTorch's operators, and remember those that none could vouch for."""

    def __init__(self, truth: Truth, graph: Observed, homes: Homes, judge: Judge) -> None:
        self._truth, self._graph, self._view = truth, graph, graph.view
        self._homes, self._judge = homes, judge
        self._parts: set[str] = set()  # a step inside one of PyTorch's operators, and right
        self._rivals: set[str] = set()  # what one of PyTorch's operators should have made, and not equal to it

    def vouched(self, region: Sequence[Node]) -> set[str]:
        """The values made by ``region`` or beside it that one of PyTorch's operators in the same module computes too.

        Each operator vouches for one value: a dropped activation leaves a second copy of the value before it, for
        which no operator is left.
        """
        paths = {node.module for node in region}
        folded = self._folded_into(paths)
        inside = [node for node in self._view.nodes if node.module in paths]
        # Values outside of the region come first: an operator that made one of them cannot vouch for another.
        inside.sort(key=lambda node: node in region)
        # An output is known by its name, so it is not vouched for.
        made = {
            name: node.module
            for node in inside
            for name in self._view.floats(node.outputs)
            if name not in self._graph.named_outputs
        }

        def candidates(sight: Sight) -> list[str]:
            path = folded.get(sight.moment.path, sight.moment.path)
            return [name for name, home in made.items() if home == path and self._view.may_be(name, sight.shape)]

        modules = paths | folded.keys()
        judged = self._judge.judge(self._operator_sights(modules), candidates, modules)
        ops = [found for found in judged if found.moment.kind == "op"]
        self._parts |= {j.values[0] for j in judged if j.is_right and j.moment.kind == "part"}
        self._rivals |= {name for found in ops if not found.is_right for name in found.values}
        return {found.values[0] for found in ops if found.is_right}

    def first(self, suspects: Sequence[Node]) -> list[Node]:
        """Return the node to blame, and those after it that PyTorch's tensors cannot rule out."""
        same = [other for other in suspects if other.module == suspects[0].module]
        while len(same) > 1 and self._goes_on(same[0], same[1]):
            same = same[1:]
        # Without a tensor of PyTorch to hold against a node's output, the next one may be the culprit as well.
        for place, node in enumerate(same):
            if self._rivals.intersection(node.outputs):
                return same[: place + 1]
        return same

    def _goes_on(self, node: Node, after: Node) -> bool:
        """Return True if ``node`` is a right step inside one of PyTorch's operators and ``after`` goes on from it."""
        return bool(self._parts.intersection(node.outputs)) and not set(node.outputs).isdisjoint(after.inputs)

    def _folded_into(self, paths: set[str]) -> dict[str, str]:
        """The modules without nodes that were folded into one of ``paths``, and into which."""
        leaving = [sight.moment for sight in self._truth.sights if sight.moment.kind == "leave"]
        without = [moment for moment in leaving if not self._homes.has_nodes(moment.path)]
        return {moment.path: home for moment in without if (home := self._homes.home(moment)) in paths}

    def _operator_sights(self, modules: set[str]) -> list[Sight]:
        sights: list[Sight] = []

        def note(sight: Sight, get: Callable[[], Array]) -> None:
            if sight.moment.kind in ("op", "part") and sight.is_float:
                sights.append(sight)

        self._truth.visit(note, modules)
        return sights
