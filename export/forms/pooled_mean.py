"""The mean along one axis of a map as an average pooling over the whole of it.

Coordinate attention and strip pooling take the mean of every row and of every column. Along so short an axis ONNX
Runtime's reduction has more to do with finding the numbers than with adding them up; its pooling computes blocks of
channels at once. Does not apply where the axis may vary, since a pooling window is written into the graph.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .form import Writer, sizes
from .split_reduction import reduced_axes

LONGEST = 64  # of a longer axis the reduction is as fast


class PooledMean:
    """ReduceMean over height or width as AveragePool."""

    name = "means along one axis as pooling"

    def kind(self, node: ir.Node) -> str:
        """By axis, its size and the channels."""
        axes = reduced_axes(node) if node.op_type == "ReduceMean" else ()
        if axes not in ((2,), (3,)):
            return ""
        found = sizes(node.inputs[0], 4)
        size = None if found is None else found[axes[0]]
        if found is None or size is None or not 1 < size <= LONGEST:
            return ""
        return f"mean over {size} {'rows' if axes == (2,) else 'columns'} of {found[1] or 'any'} channels"

    def rewrite(self, node: ir.Node) -> None:
        """In the node's place: an AveragePool and, where the axis goes, a Squeeze."""
        (axis,) = reduced_axes(node)
        found = sizes(node.inputs[0], 4)
        assert found is not None
        size = found[axis]
        assert size is not None
        write = Writer(node)
        window = [size, 1] if axis == 2 else [1, size]
        pooled = write.node("AveragePool", [node.inputs[0]], "pooled", kernel_shape=window)
        if node.attributes.get_int("keepdims", 1) == 0:
            pooled = write.node("Squeeze", [pooled, write.weight(np.array([axis], np.int64), "axis")], "squeezed")
        write.put(pooled)
