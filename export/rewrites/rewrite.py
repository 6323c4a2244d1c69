"""Rewrites, and how one is applied to a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

# between the name of a place and what was written there
WRITTEN = " > "
# operators are written as this opset has them: Squeeze and Unsqueeze take their axes as an input
OLDEST_OPSET = 13
Match = TypeVar("Match")
FLOATS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE})


class Rewrite(Protocol):
    """Another way to write a node and the nodes before it that belong to it."""

    name: str

    def kind(self, node: ir.Node) -> str:
        """Return in words the nodes for which it pays off alike, this one among them; "" if it does not apply."""
        ...

    def apply(self, node: ir.Node) -> None:
        """Replace a node of some kind in its graph; its outputs keep their names."""
        ...


class GraphRewrite(Protocol):
    """Another way to write a whole graph, after the rewrites of its places."""

    name: str

    def kind(self, graph: ir.Graph) -> str:
        """Return in words what the graph is; "" if the rewrite does not apply."""
        ...

    def apply(self, graph: ir.Graph) -> None:
        """Rewrite the graph; its outputs keep their names."""
        ...


def kinds(model: ir.Model, rewrite: Rewrite) -> dict[str, int]:
    """Return how many nodes of each kind the rewrite applies to, in the order of the graph."""
    found: dict[str, int] = {}
    for node in model.graph:
        if kind := _kind(node, rewrite):
            found[kind] = found.get(kind, 0) + 1
    return found


def apply(model: ir.Model, rewrite: Rewrite, kind: str) -> int:
    """Rewrite every node of the kind in place, without what nothing reads any more; returns how many there were."""
    nodes = [node for node in model.graph if _kind(node, rewrite) == kind]
    for node in nodes:
        rewrite.apply(node)
    if nodes:
        _finish(model)
    return len(nodes)


class Place(NamedTuple):
    """A rewritten place: the node that was found, and the names of all nodes that went and came."""

    anchor: str
    removed: tuple[str, ...]
    written: tuple[str, ...]


def rewrite_places(model: ir.Model, rewrite: Rewrite, kind: str) -> list[Place]:
    """Rewrite every node of the kind in place as ``apply`` does, and return what went and came at each."""
    found = []
    for node in [node for node in model.graph if _kind(node, rewrite) == kind]:
        if node.graph is None:  # an earlier place took it in
            continue
        before = dict.fromkeys(str(other.name) for other in model.graph)
        rewrite.apply(node)
        model.graph.sort()
        RemoveUnusedNodesPass()(model)
        after = dict.fromkeys(str(other.name) for other in model.graph)
        removed = tuple(name for name in before if name not in after)
        found.append(Place(str(node.name), removed, tuple(name for name in after if name not in before)))
    ShapeInferencePass()(model)
    return found


def apply_whole(model: ir.Model, rewrite: GraphRewrite) -> None:
    """Rewrite the whole graph in place."""
    rewrite.apply(model.graph)
    _finish(model)


def _finish(model: ir.Model) -> None:
    model.graph.sort()  # one place may read what was written for a later one
    RemoveUnusedNodesPass()(model)
    ShapeInferencePass()(model)  # the next rewrite asks for sizes, too


def _kind(node: ir.Node, rewrite: Rewrite) -> str:
    """Return the kind of a node; "" for one of another domain, of an older opset, or that gives no floats.

    A node that a rewrite has written has none: its parts may look like another place.
    """
    graph = node.graph
    if node.domain not in ("", "ai.onnx") or WRITTEN in (node.name or "") or not isinstance(graph, ir.Graph):
        return ""
    is_new = graph.opset_imports.get("", 0) >= OLDEST_OPSET
    return rewrite.kind(node) if is_new and node.outputs[0].dtype in FLOATS else ""


def sizes(value: ir.Value | None, rank: int) -> tuple[int | None, ...] | None:
    """Return the sizes of a tensor of this rank, None for those that may vary; None for another or unknown rank."""
    if value is None or value.shape is None or len(value.shape) != rank:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def alike(values: Sequence[ir.Value], axis: int) -> bool:
    """Return True if all tensors are known to have the same size along an axis, by its number or by its name."""
    found = [None if value.shape is None else value.shape[axis] for value in values]
    named = [size.value if isinstance(size, ir.SymbolicDim) else size for size in found]
    return None not in named and len({*named}) == 1


def constant(value: ir.Value | None) -> np.ndarray | None:
    """Return the numbers of a weight or a constant; None of what is computed, or may be fed in place of a default."""
    tensor = None if value is None or value.is_graph_input() else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def moves_by_one(node: ir.Node) -> bool:
    """Return True if a convolution has neither strides nor dilation, and gives its zeros in numbers."""
    found = (set(node.attributes.get_ints(name, (1, 1))) for name in ("strides", "dilations"))
    return all(numbers == {1} for numbers in found) and node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"


def take_over(new: ir.Value, old: ir.Value) -> None:
    """Replace ``old``, which is no output of the graph, by ``new``, which takes its type and shape."""
    new.type, new.shape = old.type, old.shape
    ir.convenience.replace_all_uses_with(old, new)


class Writer:
    """Collect nodes, named after ``old``, and put them in its place."""

    def __init__(self, old: ir.Node) -> None:
        self._old = old
        self._new: list[ir.Node] = []
        graph = old.graph
        assert isinstance(graph, ir.Graph)
        self._graph = graph

    def weight(self, numbers: np.ndarray, word: str) -> ir.Value:
        """Return a new weight of the graph."""
        name = f"{self._stem}{WRITTEN}{word}"
        value = ir.Value(
            name=name,
            type=ir.TensorType(ir.DataType.from_numpy(numbers.dtype)),
            shape=ir.Shape(numbers.shape),
            const_value=ir.tensor(numbers, name=name),
        )
        self._graph.register_initializer(value)
        return value

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        word: str,
        **attributes: ir.Attr | int | str | Sequence[int],
    ) -> ir.Value:
        """Return the output of a new node; ``word`` tells it from the others of this place."""
        source = self._old.outputs[0]
        written = ir.node(op_type, inputs, attributes=attributes, name=f"{self._stem}{WRITTEN}{word}")
        written.outputs[0].name = f"{source.name}{WRITTEN}{word}"
        written.outputs[0].type = source.type
        self._new.append(written)
        return written.outputs[0]

    def integers(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        word: str,
        **attributes: ir.Attr | int | str | Sequence[int],
    ) -> ir.Value:
        """Return the output of a new node that computes integers, as sizes are."""
        written = self.node(op_type, inputs, word, **attributes)
        written.type = ir.TensorType(ir.DataType.INT64)
        return written

    def number(self, value: int, word: str) -> ir.Value:
        """Return a new weight of one integer."""
        return self.weight(np.array([value], np.int64), word)

    def size(self, given: ir.Value | None, axis: int, size: int | None, more: int = 0) -> ir.Value:
        """Return one integer: ``size``, or if that is None the size of ``given`` along the axis plus ``more``."""
        if size is not None:
            return self.number(size, f"size of axis {axis}")
        shape = self.size_along(given, axis, f"size of the input's axis {axis}")
        if not more:
            return shape
        return self.integers("Add", [shape, self.number(more, f"more of axis {axis}")], f"size of axis {axis}")

    def size_along(self, given: ir.Value | None, axis: int, word: str) -> ir.Value:
        """Return one integer: the size of ``given`` along the axis.

        It is cut out of the whole shape: Shape's own start and end are newer than some parsers.
        """
        shape = self.integers("Shape", [given], f"shape for the {word}")
        bounds = [self.number(axis, f"start of the {word}"), self.number(axis + 1, f"end of the {word}")]
        return self.integers("Slice", [shape, *bounds], word)

    def put(self, *results: ir.Value) -> None:
        """Put the results in the place of the old node's outputs, whose names and shapes they take."""
        old = self._old.outputs
        for result, value in zip(results, old, strict=True):
            result.name, result.shape = value.name, result.shape if value.shape is None else value.shape
        ir.convenience.replace_nodes_and_values(self._graph, self._old, [self._old], self._new, old, results)

    @property
    def _stem(self) -> str:
        return str(self._old.name)


class Matched(ABC, Generic[Match]):
    """A ``Rewrite`` of what ``match`` finds at a node.

    Attributes:
        name: The rewrite in words.
        place: The kind of every place, unless ``kind_of`` tells them apart.
    """

    name: str
    place: str = ""

    @abstractmethod
    def match(self, node: ir.Node) -> Match | None:
        """Return what is rewritten at a node; None if the rewrite does not apply."""

    @abstractmethod
    def write(self, write: Writer, node: ir.Node, found: Match) -> ir.Value:
        """Return the value that comes in the place of the node's output."""

    def kind_of(self, node: ir.Node, found: Match) -> str:
        """Return the kind of what was found."""
        return self.place

    def kind(self, node: ir.Node) -> str:
        """Return the kind of a node; "" if the rewrite does not apply."""
        found = self.match(node)
        return "" if found is None else self.kind_of(node, found)

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place what the rewrite writes."""
        found = self.match(node)
        assert found is not None
        write = Writer(node)
        write.put(self.write(write, node, found))
