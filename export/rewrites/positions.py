"""Parts of a graph that compute every position of a map for itself, along the axes asked for.

Elementwise operators do, 1x1 convolutions, and normalisations with recorded statistics. What they read beside the
map must be the same at every position. Proven from the graph alone, for every input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from .per_image import ELEMENTWISE
from .rewrite import Writer


@dataclass(frozen=True)
class Pointwise:
    """Nodes between values that begin and one that ends, none of which anything else reads, the begin aside.

    Attributes:
        axes: The axes along which each position is computed for itself.
        end: The value that the last node gives.
        begins: The values that the first nodes read.
        nodes: The nodes, and of each the places of its inputs that have positions.
    """

    axes: tuple[int, ...]
    end: ir.Value
    begins: tuple[ir.Value, ...]
    nodes: Mapping[ir.Node, frozenset[int]]

    def alone_reads(self, value: ir.Value) -> bool:
        """Return True if nothing else reads one of the values that the nodes give or begin with."""
        within = all(use.node in self.nodes and use.idx in self.nodes[use.node] for use in value.uses())
        return within and not value.is_graph_output()

    def copied(self, write: Writer, begins: Sequence[ir.Value], word: str) -> ir.Value:
        """Write the nodes once more, on other values in place of the ``begins``; return what the last one gives."""
        made = dict(zip(self.begins, begins, strict=True))

        def of(value: ir.Value) -> ir.Value:
            if value not in made:
                node = value.producer()
                assert node is not None
                inputs = [
                    of(one) if place in self.nodes[node] and one is not None else one
                    for place, one in enumerate(node.inputs)
                ]
                made[value] = write.node(node.op_type, inputs, f"{word}.{len(made)}", **node.attributes)
                made[value].type, made[value].shape = value.type, self._shape(value, begins)
            return made[value]

        return of(self.end)

    def _shape(self, value: ir.Value, begins: Sequence[ir.Value]) -> ir.Shape | None:
        """Return the shape of one of the values if the nodes begin with others."""
        if value.shape is None:
            return None
        along = {axis: {None if one.shape is None else one.shape[axis] for one in begins} for axis in self.axes}
        found = {axis: sizes.pop() if len(sizes) == 1 else None for axis, sizes in along.items()}
        return ir.Shape(found.get(axis, size) for axis, size in enumerate(value.shape))


def pointwise(end: ir.Value, axes: Sequence[int], begins: Callable[[ir.Value], bool]) -> Pointwise | None:
    """Return the nodes that give ``end``, from values that ``begins`` is true of; None if there are none, or others.

    Args:
        end: A value that the nodes give.
        axes: The axes along which each position is to be computed for itself, counted from the first.
        begins: Returns True for a value to begin with.
    """
    nodes: dict[ir.Node, frozenset[int]] = {}
    first: dict[ir.Value, None] = {}
    last, left = end.producer(), [end]
    while left:
        value = left.pop()
        node = value.producer()
        if value is not end and begins(value):
            first[value] = None
        elif node is None or last is None or node.graph is not last.graph:
            return None
        elif node not in nodes:
            places = _positions(node, axes)
            if not places:
                return None
            nodes[node] = places
            left += [one for place in places if (one := node.inputs[place]) is not None]
    found = Pointwise(tuple(axes), end, tuple(first), nodes)
    inner = (node.outputs[0] for node in nodes if node.outputs[0] is not end)
    return found if all(map(found.alone_reads, inner)) else None


def _positions(node: ir.Node, axes: Sequence[int]) -> frozenset[int]:
    """Return the places of the inputs whose positions are those of the output; none if the node mixes positions."""
    if node.domain not in ("", "ai.onnx") or len(node.outputs) != 1:
        return frozenset()
    if node.op_type in ELEMENTWISE:
        return _of_elementwise(node, axes)
    is_alone = (node.op_type == "Conv" and _moves_none(node, axes)) or (
        node.op_type == "BatchNormalization" and node.attributes.get_int("training_mode", 0) == 0
    )
    return frozenset({0}) if is_alone and min(axes) > 1 else frozenset()


def _of_elementwise(node: ir.Node, axes: Sequence[int]) -> frozenset[int]:
    rank = _rank(node.outputs[0])
    varying = {
        place: value
        for place, value in enumerate(node.inputs)
        if value is not None and not _is_same_everywhere(value, rank, axes)
    }
    if rank is None or any(_rank(value) != rank for value in varying.values()):
        return frozenset()
    return frozenset(varying)


def _is_same_everywhere(value: ir.Value, rank: int | None, axes: Sequence[int]) -> bool:
    """Return True if broadcasting to ``rank`` axes gives every position along the axes the same numbers."""
    shape = value.shape if value.const_value is None else value.const_value.shape
    if shape is None or rank is None:
        return False
    own = (axis - rank + len(shape) for axis in axes)
    return len(shape) <= rank and all(axis < 0 or shape[axis] == 1 for axis in own)


def _moves_none(node: ir.Node, axes: Sequence[int]) -> bool:
    """Return True for a convolution that neither moves nor mixes along the axes."""
    weight = node.inputs[1]
    rank = _rank(weight)
    if (
        weight is None
        or weight.shape is None
        or rank is None
        or node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
    ):
        return False
    spatial = rank - 2
    strides = node.attributes.get_ints("strides", [1] * spatial)
    pads = node.attributes.get_ints("pads", [0] * 2 * spatial)
    return all(
        1 < axis < rank
        and weight.shape[axis] == 1
        and (strides[axis - 2], pads[axis - 2], pads[axis - 2 + spatial]) == (1, 0, 0)
        for axis in axes
    )


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)
