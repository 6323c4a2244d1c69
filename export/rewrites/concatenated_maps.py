"""Maps that are concatenated for operators that see single positions, and split again behind them.

Coordinate attention puts row and column means one below the other for one convolution. Where the maps are small, the
Concat, the Split and the turns that make them fit take longer than the convolution. Each map by itself needs none of
them. Does not apply if an operator in between mixes positions along the axis, if something else reads what is between,
or unless the sizes of the split are known to be those of the maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import onnx_ir as ir

from .axis_sizes import ONE, Size, number, plus, size_along, whole_numbers
from .positions import Pointwise, pointwise
from .rewrite import Writer
from .turned_maps import UnturnedMaps, channels, turned_between

AXES = {2: "height", 3: "width"}
TO_THE_END = 2**31 - 1  # and beyond: exporters write an end that no axis reaches


class _Place(NamedTuple):
    """The operators behind one or more Concat, the maps of each, and the number of the map of each output."""

    between: Pointwise
    maps: tuple[tuple[ir.Value, ...], ...]
    outputs: tuple[int, ...]

    def of(self, output: int) -> list[ir.Value]:
        """Return what the operators read in place of the Concat, for one of the outputs."""
        return [maps[self.outputs[output]] for maps in self.maps]


class SeparateMaps:
    """Concat, operators on positions, Split or Slices, as the operators on each map."""

    name = "concatenated maps by themselves"

    def kind(self, node: ir.Node) -> str:
        """Return the kind by axis and channels; the place is the Split, or each Slice."""
        found = _place(node)
        if found is None:
            return ""
        axis = _axis(node)
        along = AXES.get(axis or 0, f"axis {axis}")
        given = found.maps[0]
        return f"{len(given)} maps along the {along}, {channels(given[0])} to {channels(found.between.end)} channels"

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place the operators for each map, not turned if the map was and is turned back."""
        found = _place(node)
        graph = node.graph
        assert found is not None
        assert graph is not None
        write = Writer(node)
        each = [found.of(output) for output in range(len(found.outputs))]
        write.put(*(found.between.copied(write, maps, f"map {number}") for number, maps in enumerate(each)))
        given = {value for maps in each for value in maps}
        for other in list(graph):
            behind = turned_between(other)
            if behind is not None and given.intersection(behind.begins):
                UnturnedMaps().apply(other)


def _place(node: ir.Node) -> _Place | None:
    """Return the maps that a Split or a Slice takes apart again; None for any other node."""
    axis = _axis(node)
    end = node.inputs[0] if node.inputs else None
    if axis is None or end is None or end.is_graph_output() or not all(value.name for value in node.outputs):
        return None
    between = pointwise(end, (axis,), lambda value: _is_joined(value, axis))
    if between is None or not all(between.alone_reads(value) for value in between.begins):
        return None
    maps = [_maps(value) for value in between.begins]
    sizes = [[size_along(one, axis) for one in found] for found in maps]
    first = [size for size in sizes[0] if size is not None]
    if any(other != first for other in sizes):
        return None
    readers = [_taken(use.node, axis, first) if use.idx == 0 else None for use in end.uses()]
    outputs = _taken(node, axis, first)
    if outputs is None or None in readers:
        return None
    return _Place(between, tuple(maps), outputs)


def _is_joined(value: ir.Value, axis: int) -> bool:
    node = value.producer()
    if node is None or node.op_type != "Concat" or value.shape is None or len(node.inputs) < 2:
        return False
    return node.attributes.get_int("axis", 0) % len(value.shape) == axis and None not in node.inputs


def _maps(value: ir.Value) -> tuple[ir.Value, ...]:
    node = value.producer()
    assert node is not None
    return tuple(one for one in node.inputs if one is not None)


def _axis(node: ir.Node) -> int | None:
    """Return the axis, counted from the first, that a Split or a Slice takes a map apart along; None for no such node.

    That of images is none, and that of channels.
    """
    shape = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
    if node.op_type not in ("Split", "Slice") or shape is None:
        return None
    if node.op_type == "Split":
        axis = node.attributes.get_int("axis", 0)
    else:
        named = whole_numbers(node.inputs[3]) if len(node.inputs) > 3 else None
        if named is None or len(named) != 1 or named[0].keys() - {ONE}:
            return None
        axis = named[0].get(ONE, 0)
    axis %= len(shape)
    return axis if axis > 1 else None


def _taken(node: ir.Node, axis: int, sizes: list[Size]) -> tuple[int, ...] | None:
    """Return for each output the number of the map that it is; None unless each is one of the maps of these sizes."""
    if _axis(node) != axis:
        return None
    if node.op_type == "Split":
        return tuple(range(len(sizes))) if _split_sizes(node, sizes) == sizes else None
    edges = list(_ends(sizes))
    bounds = _bounds(node, edges[-1])
    found = [one for one in range(len(sizes)) if (edges[one], edges[one + 1]) == bounds]
    return tuple(found) if len(found) == 1 else None


def _ends(sizes: list[Size]) -> Iterator[Size]:
    """Yield the place at which the first map begins, and those at which each ends."""
    return accumulate(sizes, plus, initial=number(0))


def _split_sizes(node: ir.Node, sizes: list[Size]) -> list[Size] | None:
    """Return the sizes that a Split gives; of one without sizes the maps' own, if they are the same for all."""
    if len(node.outputs) != len(sizes):
        return None
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return whole_numbers(node.inputs[1])
    return sizes if all(size == sizes[0] for size in sizes) else None


def _bounds(node: ir.Node, total: Size) -> tuple[Size, Size] | None:
    """Return the place at which a Slice begins, and that at which it ends; None for more than one, or a step."""
    starts, ends = (whole_numbers(value) for value in node.inputs[1:3])
    steps = whole_numbers(node.inputs[4]) if len(node.inputs) > 4 else [number(1)]
    if starts is None or ends is None or steps != [number(1)] or (len(starts), len(ends)) != (1, 1):
        return None
    start, end = (_counted(one, total) for one in (starts[0], ends[0]))
    return start, end


def _counted(place: Size, total: Size) -> Size:
    """Return a place along the axis, counted from the first; a number below zero counts from the end."""
    if place.keys() - {ONE}:
        return place
    known = place.get(ONE, 0)
    if known >= TO_THE_END:
        return total
    return plus(total, place) if known < 0 else place


TURN = 1
REWRITES = (SeparateMaps(),)
