"""Means as matrix products with a vector of equal numbers: over height and width, over rows, and over columns.

A product is what half precision is for: it reads a half-precision map as it is, adds up in float32 on the units that
multiply matrices, and needs no Cast. The vector is a weight if the size is known. Else it is made of the size on the
way, holding one over SHARE, and what is left of the division follows on the small result, so that neither leaves
float16's range at usual sizes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..axis_sizes import HEIGHT, WIDTH
from ..rewrite import Matched, Writer, sizes
from ..split_reduction import reduced_axes
from .spatial_mean import MeanRewrite, given, keeps_axes, with_axes, without_axes

SHARE = 256


class MeanProduct(MeanRewrite):
    """The mean over all pixels as (n, c, h·w) times a vector."""

    name = "mean as a matrix product"

    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write a Reshape, a MatMul, and an Unsqueeze."""
        # 0: as there, -1: what is left
        flat = write.node("Reshape", [found, write.weight(np.array([0, 0, -1]), "pixels")], "flat")
        height, width = (sizes(found, 4) or ())[2:]
        count = None if height is None or width is None else height * width
        return with_axes(write, _times_vector(write, flat, axis=2, size=count, is_last=True), "map", (3,))


class AxisProduct(Matched[int]):
    """The mean over rows or over columns as a product of the map with a vector."""

    name = "row and column means as matrix products"
    place = "mean over height or width"

    def match(self, node: ir.Node) -> int | None:
        """Return the one axis, height or width, over which a node takes the mean of a map."""
        if node.op_type != "ReduceMean" or sizes(node.inputs[0], 4) is None:
            return None
        axes = reduced_axes(node)
        return axes[0] if axes in ((HEIGHT,), (WIDTH,)) else None

    def write(self, write: Writer, node: ir.Node, found: int) -> ir.Value:
        """Write a MatMul and, if the axis goes, a Squeeze."""
        value = given(node)
        size = (sizes(value, 4) or ())[found]
        mean = _times_vector(write, value, axis=found, size=size, is_last=found == WIDTH)
        return mean if keeps_axes(node) else without_axes(write, mean, "squeezed", (found,))


def _times_vector(write: Writer, value: ir.Value, *, axis: int, size: int | None, is_last: bool) -> ir.Value:
    """Write the mean of a value along an axis, the last or the last but one, which stays with one entry."""
    assert value.dtype is not None
    dtype = value.dtype.numpy()
    if size is not None:
        shape = (size, 1) if is_last else (1, size)
        vector: ir.Value = write.weight(np.full(shape, 1 / size, dtype), "vector")
        return write.node("MatMul", [value, vector] if is_last else [vector, value], "mean")
    count = write.size_along(value, axis, "count")
    one = write.number(1, "one")
    wanted = write.integers("Concat", [count, one] if is_last else [one, count], "size of the vector", axis=0)
    vector = write.node("Expand", [write.weight(np.full((1, 1), 1 / SHARE, dtype), "share"), wanted], "vector")
    sums = write.node("MatMul", [value, vector] if is_last else [vector, value], "shares")
    number = write.node("Cast", [count], "count as a number", to=int(value.dtype))
    rest = write.node("Div", [write.weight(np.array([SHARE], dtype), "shares of one"), number], "rest")
    return write.node("Mul", [sums, rest], "mean")


TURN = 1
REWRITES = (MeanProduct(), AxisProduct())
