"""Find a node with two outputs exchanged, as of a Split, before the nodes that read the one in place of the other.

Each output is right, so that what reads them is the first that is wrong. If several nodes read the other output, and
nothing else is wrong, it is the one node before them that gives its outputs in the wrong order.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice

from ..boundaries import Node
from .location import Location
from .observed import Observed
from .truth import Truth

MOST_RUNS = 12  # of the whole graph: all pairs of one Split in four with another


class Exchanged:
    """Exchange outputs back and run the whole graph."""

    def __init__(self, truth: Truth, graph: Observed) -> None:
        self._truth, self._graph, self._view = truth, graph, graph.view

    def before(self, place: Location) -> Location | None:
        """Return the node before that of ``place`` with two outputs that make the graph right when exchanged."""
        reader = next((node for node in self._view.nodes if node.name == place.node), None)
        if reader is None or self._graph.raised is not None:
            return None
        for node, first, second in islice(self._pairs(reader), MOST_RUNS):
            if self._graph.is_right_in(self._view.exchanged(node, first, second)):
                text = f"exchanging its outputs {first} and {second} makes the graph right"
                module = self._truth.module(node.module)
                return Location.of(node.module, module, node, place.ratio, text, proven=True)
        return None

    def _pairs(self, reader: Node) -> Iterator[tuple[Node, str, str]]:
        """Pairs of outputs of the nodes that ``reader`` reads, that more than one node reads."""
        for node in self._makers(reader):
            for first, second in combinations(self._view.floats(node.outputs), 2):
                if len({user.position for name in (first, second) for user in self._view.consumers.get(name, ())}) > 1:
                    yield node, first, second

    def _makers(self, reader: Node) -> Iterator[Node]:
        """The nodes with several outputs before ``reader``, nearest first, past others of its module or theirs."""
        waiting, seen = list(reader.inputs), {reader.position}
        while waiting:
            node = self._view.producer.get(waiting.pop(0))
            if node is None or node.position in seen:
                continue
            seen.add(node.position)
            if len(self._view.floats(node.outputs)) > 1:
                yield node
            elif node.module == reader.module:
                waiting += node.inputs
