"""The choices among places in a graph, and the same graph with what they read and give as further outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..arrays import Array
from ..boundaries import GraphView

if TYPE_CHECKING:
    import onnx

# operator -> the output that has the places
PLACES = {"TopK": 1, "ArgMax": 0, "ArgMin": 0}


@dataclass(frozen=True)
class ChoosingNode:
    """A node that picks places: its operator, and the names of the values with its scores and its places."""

    operator: str
    scores: str
    places: str


@dataclass(frozen=True)
class Picked:
    """The scores that a node of a graph read in one run, and the places that it gave."""

    node: ChoosingNode
    scores: Array
    places: Array


@dataclass(frozen=True)
class ShownGraph:
    """A graph with its choices as further outputs: the file, and the nodes in their order."""

    path: Path
    nodes: tuple[ChoosingNode, ...]

    def picked(self, feeds: Mapping[str, Array], shown: Mapping[str, Array]) -> list[Picked]:
        """Return what every node read and gave, those that choose between integers left out."""
        values = {**feeds, **shown}
        found = [Picked(node, values[node.scores], values[node.places]) for node in self.nodes]
        return [one for one in found if one.scores.dtype.kind == "f"]


@contextmanager
def shown_choices(path: Path) -> Iterator[ShownGraph | None]:
    """Write the graph with its choices shown, for as long as it is used; None for one that has none."""
    with GraphView(path, {}) as view:
        nodes = tuple(choosing_nodes(view.model))
        names = [name for node in nodes for name in (node.scores, node.places) if name not in view.inputs]
        yield ShownGraph(view.shown(names), nodes) if nodes else None


def choosing_nodes(model: onnx.ModelProto) -> Iterator[ChoosingNode]:
    """Yield the nodes outside of bodies whose places something may read."""
    fixed = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        place = PLACES.get(node.op_type)
        if place is None or node.domain or node.input[0] in fixed:
            continue
        if len(node.output) > place and node.output[place]:
            yield ChoosingNode(node.op_type, node.input[0], node.output[place])
