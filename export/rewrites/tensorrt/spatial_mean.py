"""Places where the mean of a map over height and width is taken, and its result in the shape that was there."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Writer, sizes
from ..split_reduction import reduced_axes

SPATIAL = (2, 3)


def is_spatial(node: ir.Node, operator: str = "ReduceMean") -> bool:
    """Return True for a reduction of a map (n, c, h, w) over height and width."""
    if node.op_type != operator or sizes(node.inputs[0], 4) is None:
        return False
    return tuple(sorted(reduced_axes(node))) == SPATIAL


def is_mean(node: ir.Node) -> bool:
    """Return True for the mean of a map over height and width."""
    return is_spatial(node) or (node.op_type == "GlobalAveragePool" and sizes(node.inputs[0], 4) is not None)


def keeps_axes(node: ir.Node) -> bool:
    """Return True if the result has four axes, (n, c, 1, 1)."""
    return node.op_type == "GlobalAveragePool" or bool(node.attributes.get_int("keepdims", 1))


def channels(node: ir.Node) -> str:
    """Return the number of channels in words."""
    found = sizes(node.inputs[0], 4)
    return f"{(found and found[1]) or 'any number of'} channels"


def kind_of_mean(node: ir.Node) -> str:
    """Return the kind of place of a mean over height and width; "" for any other node."""
    return f"mean over height and width of {channels(node)}" if is_mean(node) else ""


def reduce(write: Writer, node: ir.Node, value: ir.Value, axes: tuple[int, ...], word: str, *, keep: bool) -> ir.Value:
    """Write a mean over the axes, given as an attribute or, from opset 18 on, as an input."""
    opset = _opset(node)
    if opset < 18:
        return write.node("ReduceMean", [value], word, axes=list(axes), keepdims=int(keep))
    given = write.weight(np.array(axes, np.int64), f"axes of {word}")
    return write.node("ReduceMean", [value, given], word, keepdims=int(keep))


def without_axes(write: Writer, value: ir.Value, word: str, axes: tuple[int, ...] = SPATIAL) -> ir.Value:
    """Write the value (n, c, 1, 1) as (n, c)."""
    return write.node("Squeeze", [value, write.weight(np.array(axes, np.int64), f"axes of {word}")], word)


def with_axes(write: Writer, value: ir.Value, word: str, axes: tuple[int, ...] = SPATIAL) -> ir.Value:
    """Write the value (n, c) as (n, c, 1, 1)."""
    return write.node("Unsqueeze", [value, write.weight(np.array(axes, np.int64), f"axes of {word}")], word)


def _opset(node: ir.Node) -> int:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return int(graph.opset_imports[""])
