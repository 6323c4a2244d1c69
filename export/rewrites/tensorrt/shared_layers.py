"""Layers that several values of an image go through with the same weights, run once on all of them.

CBAM's mean and maximum, the four scales of PSA, coordinate attention's rows and columns: each layer is a launch for
every one of them. Side by side along an axis the values go through each layer once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from ..pixel_linear import ELEMENTWISE
from ..rewrite import Matched, Writer, alike, sizes, take_over
from .gate_chain import product_of

ROW, HEIGHT = 1, 2  # the axes along which rows (n, k, c) and maps (n, c, h, 1) stand side by side


@dataclass(frozen=True)
class _Shared:
    """The values that begin, and the nodes of each level, one for each value, the first level first."""

    roots: tuple[ir.Value, ...]
    levels: tuple[tuple[ir.Node, ...], ...]

    @property
    def is_maps(self) -> bool:
        """True for maps of one column, False for rows."""
        return sizes(self.roots[0], 4) is not None


class SharedLayers(Matched[_Shared]):
    """The same products and elementwise operators on several values as one of each on all of them."""

    name = "shared layers on all values at once"
    place = "layers that several values share"

    def match(self, node: ir.Node) -> _Shared | None:
        """Return the shared levels whose last node this is."""
        return _shared(node)

    def write(self, write: Writer, node: ir.Node, found: _Shared) -> ir.Value:
        """Write in the place of all levels a Concat, one node for each level, and the values taken apart again."""
        value = _joined(write, found)
        for number, level in enumerate(found.levels):
            value = _level(write, level[0], value, f"layer {number}", is_maps=found.is_maps)
        parts = _parts(write, found, value)
        for part, one in zip(parts, found.levels[-1], strict=True):
            if one is not node:
                take_over(part, one.outputs[0])
        return parts[found.levels[-1].index(node)]


def _joined(write: Writer, found: _Shared) -> ir.Value:
    if found.is_maps:
        return write.node("Concat", found.roots, "side by side", axis=HEIGHT)
    axis = write.number(ROW, "axis of rows")
    rows = [write.node("Unsqueeze", [root, axis], f"row {number}") for number, root in enumerate(found.roots)]
    return write.node("Concat", rows, "side by side", axis=ROW)


def _level(write: Writer, node: ir.Node, value: ir.Value, word: str, *, is_maps: bool) -> ir.Value:
    if is_maps or node.op_type in ELEMENTWISE:
        return write.node(node.op_type, [value, *node.inputs[1:]], word, **node.attributes)
    product = product_of(node)
    assert product is not None
    weight = write.weight(np.ascontiguousarray(product.weight.T), f"weight of {word}")
    value = write.node("MatMul", [value, weight], f"product of {word}")
    return (
        value
        if product.bias is None
        else write.node("Add", [value, write.weight(product.bias, f"bias of {word}")], word)
    )


def _parts(write: Writer, found: _Shared, value: ir.Value) -> list[ir.Value]:
    """Take the values apart, at ends that are known or made of the sizes of the roots."""
    axis_number = HEIGHT if found.is_maps else ROW
    axis = write.number(axis_number, "axis")
    ends: list[ir.Value] = [write.number(0, "end before the first")]
    known: int | None = 0
    for number, root in enumerate(found.roots):
        size = (sizes(root, 4) or ())[HEIGHT] if found.is_maps else 1
        known = None if known is None or size is None else known + size
        if known is not None:
            ends.append(write.number(known, f"end {number}"))
        else:
            more = write.size_along(root, HEIGHT, f"size {number}")
            ends.append(write.integers("Add", [ends[-1], more], f"end {number}"))
    parts = [
        write.node("Slice", [value, first, end, axis], f"part {number}")
        for number, (first, end) in enumerate(pairwise(ends))
    ]
    if found.is_maps:
        return parts
    return [write.node("Squeeze", [part, axis], f"row {number} alone") for number, part in enumerate(parts)]


def _shared(node: ir.Node) -> _Shared | None:
    """Return the shared levels that end in a node, if it is the last of the last level; else None."""
    top = _level_of(node)
    if not top or top[-1] is not node or _next_level(top) or any(one.outputs[0].is_graph_output() for one in top):
        return None
    levels = [top]
    while below := _level_below(levels[0]):
        levels.insert(0, below)
    # the first level is a product
    while levels and product_of(levels[0][0]) is None:
        levels.pop(0)
    roots = tuple(value for one in (levels[0] if levels else ()) if (value := one.inputs[0]) is not None)
    nodes = {one for level in levels for one in level}
    return _Shared(roots, tuple(levels)) if roots and _fit(roots) and not _need(roots, nodes) else None


def _need(values: Sequence[ir.Value], nodes: set[ir.Node]) -> bool:
    """Return True if some value is made of what one of the nodes gives, as in a layer that follows on itself."""
    seen: set[ir.Node] = set()
    left = [value.producer() for value in values]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if node in nodes:
            return True
        seen.add(node)
        left += [value.producer() for value in _all_read(node)]
    return False


def _all_read(node: ir.Node) -> Iterator[ir.Value]:
    """Yield what a node reads, and what the bodies of an If or a Loop read."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        for body in _bodies(attribute):
            for inner in body:
                yield from _all_read(inner)


def _bodies(attribute: ir.Attr) -> tuple[ir.Graph, ...]:
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return tuple(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else ()


def _level_of(node: ir.Node) -> tuple[ir.Node, ...]:
    """Return the nodes that do the same as this one to other values, in the order of the graph; () if it is alone."""
    graph = node.graph
    if product_of(node) is not None:
        weight = node.inputs[1]
        assert weight is not None
        same = {use.node for use in weight.uses() if use.idx == 1 and _is_same(use.node, node)}
        return tuple(one for one in graph or () if one in same) if len(same) > 1 else ()
    if node.op_type not in ELEMENTWISE:
        return ()
    value = node.inputs[0]
    before = None if value is None else value.producer()
    return () if before is None else _next_level(_level_of(before))


def _level_below(level: Sequence[ir.Node]) -> tuple[ir.Node, ...]:
    made = [one.inputs[0].producer() if one.inputs[0] is not None else None for one in level]
    if any(one is None or len(one.outputs[0].uses()) != 1 or one.outputs[0].is_graph_output() for one in made):
        return ()
    nodes = tuple(one for one in made if one is not None)
    if len(set(nodes)) != len(level):
        return ()
    is_one = all(_is_same(one, nodes[0]) for one in nodes)
    return nodes if is_one and (product_of(nodes[0]) is not None or nodes[0].op_type in ELEMENTWISE) else ()


def _next_level(level: Sequence[ir.Node]) -> tuple[ir.Node, ...]:
    """Return what alone reads the nodes of a level and does the same to each; () if there is no such level."""
    uses = [tuple(one.outputs[0].uses()) for one in level]
    if not level or any(len(found) != 1 or found[0].idx != 0 for found in uses):
        return ()
    nodes = tuple(found[0].node for found in uses)
    if any(one.outputs[0].is_graph_output() for one in level) or len(set(nodes)) != len(level):
        return ()
    is_one = all(_is_same(one, nodes[0]) for one in nodes)
    return nodes if is_one and (product_of(nodes[0]) is not None or nodes[0].op_type in ELEMENTWISE) else ()


def _is_same(one: ir.Node, other: ir.Node) -> bool:
    same = one.op_type == other.op_type and list(one.inputs[1:]) == list(other.inputs[1:])
    return bool(same and one.attributes == other.attributes)


def _fit(roots: Sequence[ir.Value]) -> bool:
    """Return True if the roots can stand side by side: rows (n, c), or maps of one column (n, c, h, 1)."""
    if len(set(roots)) != len(roots):
        return False
    rows = all(sizes(root, 2) is not None for root in roots)
    found = [sizes(root, 4) for root in roots]
    maps = all(one is not None and one[3] == 1 for one in found)
    return (rows or maps) and alike(roots, 0) and alike(roots, 1)


TURN = 3
REWRITES = (SharedLayers(),)
