"""Prove a fault: cut the suspected module out of the graph and run it on PyTorch's inputs of that module.

A fault that shows there too is proven to be there: nothing before the module can have caused it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...core.module_path import is_part
from ..arrays import Array, Arrays
from ..boundaries import Node
from ..comparison import Comparison
from ..metrics import Floor
from .judge import Judge, Judged
from .location import Location
from .observed import Observed
from .truth import Truth


class Proof:
    """Runs a part of the graph on PyTorch's float32 tensors, which the values that ``judge`` found right stand for."""

    def __init__(self, truth: Truth, graph: Observed, judge: Judge) -> None:
        self._truth, self._graph, self._view = truth, graph, graph.view
        self._moments = judge.moments

    def locate(self, node: Node, found: Judged, judged: Sequence[Judged], certain: str) -> Location:
        """``node`` as the place behind the boundary that was ``found`` wrong, and what running it alone shows.

        ``certain`` is what is known of it otherwise, and begins the sentence.
        """
        proof, what = self._module_alone(node, judged), "the module alone, fed PyTorch's own inputs, is"
        if proof is None:
            proof, what = self._nodes_alone(node, found), "its nodes alone, fed PyTorch's own tensors, are"
        if proof is None:
            text = "it could not be cut out and fed alone"
        elif proof.passed:
            text = f"{what} right: the fault lies elsewhere"
        else:
            text = f"{what} off by {proof.ratio:.3g} floors"
        if self._graph.hiding:
            text += f"; looking at {', '.join(sorted(self._graph.hiding)[:3])} makes the error vanish"
        module, proven = self._truth.module(node.module), proof is not None and not proof.passed
        return Location.of(node.module, module, node, found.ratio, certain + text, proven=proven)

    def _module_alone(self, node: Node, judged: Sequence[Judged]) -> Comparison | None:
        """The nodes of the module of ``node`` on PyTorch's inputs of one call, against the module alone in float64."""
        path = node.module
        entering = {*self._view.entering(path), *self._view.inputs}
        for found in judged:
            if found.moment.path != path or found.moment.kind != "leave" or found.status != "wrong":
                continue
            for value in found.values:
                nodes = [part for part in self._view.back([value], entering) if is_part(part.module, path)]
                if node in nodes:
                    expected = self._truth.alone(found.moment)
                    return None if expected is None else self._cut_and_compare(nodes, value, *expected)
        return None

    def _nodes_alone(self, node: Node, found: Judged) -> Comparison | None:
        """Run the nodes between right values and the wrong boundary on PyTorch's tensors for those values."""
        for value in found.values:
            nodes = self._view.back([value], self._moments)
            if node in nodes:
                expected = self._truth.at(found.moment)
                return None if expected is None else self._cut_and_compare(nodes, value, *expected)
        return None

    def _cut_and_compare(self, nodes: Sequence[Node], value: str, truth: Array, floor: Floor) -> Comparison | None:
        nodes = self._view.with_sizes(nodes)
        made = {name for node in nodes for name in node.outputs}
        feeds = self._fed(dict.fromkeys(name for node in nodes for name in node.inputs if name not in made))
        path = self._view.cut(nodes, feeds, [value])
        try:
            with self._graph.opener(path) as session:
                return self._truth.compare(session.run(feeds)[value], truth, floor)
        except Exception:  # the cut may not run: then nothing is proven
            return None

    def _fed(self, names: Iterable[str]) -> Arrays:
        """Return PyTorch's float32 tensors for these values; the graph's own if PyTorch has none (sizes)."""
        names = list(names)
        fed = {name: self._graph.feeds[name] for name in names if name in self._graph.feeds}
        known = {name: self._moments[name] for name in names if name in self._moments and name not in fed}
        inner = {moment.path for moment in known.values() if moment.kind == "op"}
        tensors = self._truth.rounded(set(known.values()), inner)
        fed |= {name: tensors[moment] for name, moment in known.items() if moment in tensors}
        rest = [name for name in names if name not in fed]
        if rest:
            shown = self._graph.run(rest)
            fed |= {name: shown[name] for name in rest}
        return {name: np.ascontiguousarray(fed[name]) for name in names}
