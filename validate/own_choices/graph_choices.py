"""The choices among places and levels in a graph, and that graph with what they read and give as further outputs."""

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

# operator -> the output that has the places, or the levels
PLACES = {"TopK": 1, "ArgMax": 0, "ArgMin": 0, "QuantizeLinear": 0}


@dataclass(frozen=True)
class ChoosingNode:
    """A node that picks: its operator, and the names of the values with its scores and with what it picks.

    A quantiser has its ``steps``, which tell it from others. The scores of a weight's are "": constants.
    """

    operator: str
    scores: str
    places: str
    steps: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Picked:
    """The scores that a node of a graph read in one run, None for constants, and the places or levels it gave."""

    node: ChoosingNode
    scores: Array | None
    places: Array


@dataclass(frozen=True)
class ShownGraph:
    """A graph with its choices as further outputs: the file, and the nodes in their order."""

    path: Path
    nodes: tuple[ChoosingNode, ...]

    @property
    def picks_places(self) -> bool:
        """True if any node picks among places; False if all pick among levels."""
        return any(node.steps is None for node in self.nodes)

    def picked(self, feeds: Mapping[str, Array], shown: Mapping[str, Array]) -> list[Picked]:
        """Return what every node read and gave, those that choose between integers left out."""
        values = {**feeds, **shown}
        found = [Picked(node, values[node.scores] if node.scores else None, values[node.places]) for node in self.nodes]
        return [one for one in found if one.scores is None or one.scores.dtype.kind == "f"]


@contextmanager
def shown_choices(path: Path) -> Iterator[ShownGraph | None]:
    """Write the graph with its choices shown, for as long as it is used; None for one that has none."""
    with GraphView(path, {}) as view:
        nodes = tuple(choosing_nodes(view.model, view.folder))
        names = [name for node in nodes for name in (node.scores, node.places) if name and name not in view.inputs]
        yield ShownGraph(view.shown(names), nodes) if nodes else None


def choosing_nodes(model: onnx.ModelProto, folder: Path) -> Iterator[ChoosingNode]:
    """Yield the nodes outside of bodies whose places something may read, and quantisers with known steps.

    Weights that are not in the model are in files of the ``folder``.
    """
    from onnx import numpy_helper

    fixed = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        place = PLACES.get(node.op_type)
        if place is None or node.domain or len(node.output) <= place or not node.output[place]:
            continue
        if node.op_type == "QuantizeLinear":
            if node.input[1] in fixed:
                steps = numpy_helper.to_array(fixed[node.input[1]], str(folder)).astype("float64").reshape(-1)
                scores = "" if node.input[0] in fixed else node.input[0]
                yield ChoosingNode(node.op_type, scores, node.output[place], tuple(steps.tolist()))
        elif node.input[0] not in fixed:
            yield ChoosingNode(node.op_type, node.input[0], node.output[place])
