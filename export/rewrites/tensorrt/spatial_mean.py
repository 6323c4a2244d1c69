"""Places where the mean of a map over height and width is taken, and its result in the shape that was there."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import onnx_ir as ir

from ..rewrite import Matched, Writer, sizes
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


def given(node: ir.Node, index: int = 0) -> ir.Value:
    """Return an operand that is there."""
    value = node.inputs[index]
    assert value is not None
    return value


def reduce(
    write: Writer,
    node: ir.Node,
    value: ir.Value,
    axes: tuple[int, ...],
    word: str,
    *,
    keep: bool,
    operator: str = "ReduceMean",
) -> ir.Value:
    """Write a reduction over the axes, given as an attribute or, from opset 18 on, as an input."""
    if opset(node) < 18:
        return write.node(operator, [value], word, axes=list(axes), keepdims=int(keep))
    numbers = write.weight(np.array(axes, np.int64), f"axes of {word}")
    return write.node(operator, [value, numbers], word, keepdims=int(keep))


def without_axes(write: Writer, value: ir.Value, word: str, axes: tuple[int, ...] = SPATIAL) -> ir.Value:
    """Write the value (n, c, 1, 1) as (n, c)."""
    return write.node("Squeeze", [value, write.weight(np.array(axes, np.int64), f"axes of {word}")], word)


def with_axes(write: Writer, value: ir.Value, word: str, axes: tuple[int, ...] = SPATIAL) -> ir.Value:
    """Write the value (n, c) as (n, c, 1, 1)."""
    return write.node("Unsqueeze", [value, write.weight(np.array(axes, np.int64), f"axes of {word}")], word)


def opset(node: ir.Node) -> int:
    """Return the opset of the node's graph."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return int(graph.opset_imports[""])


class MeanRewrite(Matched[ir.Value]):
    """Another way to take the mean of a map over height and width; its axes go, or not, as before."""

    place = "mean over height and width"

    def match(self, node: ir.Node) -> ir.Value | None:
        """Return the map whose mean a node takes."""
        return given(node) if is_mean(node) and self.applies(node) else None

    def applies(self, node: ir.Node) -> bool:
        """Return True if this mean can be written so."""
        return True

    @abstractmethod
    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Return the mean (n, c, 1, 1) of the map."""

    def write(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write the mean, in the shape that it had."""
        mean = self.mean(write, node, found)
        return mean if keeps_axes(node) else without_axes(write, mean, "squeezed")
