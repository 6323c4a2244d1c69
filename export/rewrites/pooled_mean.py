"""The mean along one axis of a map as an average pooling over the whole of it.

Coordinate attention and strip pooling take the mean of every row and of every column. Along so short an axis ONNX
Runtime's reduction has more to do with finding the numbers than with adding them up. Its pooling computes blocks of
channels at once, to which the map is reordered first, or adds up the rows of one map as they lie, if the map is
given as a volume one slice deep. Does not apply if the axis may vary, since a pooling window is written into the
graph.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .axis_sizes import HEIGHT, WIDTH
from .rewrite import Matched, Writer, sizes
from .split_reduction import reduced_axes

LONGEST = 64  # of a longer axis the reduction is as fast


Pooled = tuple[int, tuple[int | None, ...]]  # the axis that a mean is taken along, and the sizes of the map


class PooledMean(Matched[Pooled]):
    """ReduceMean over height or width as AveragePool."""

    name = "means along one axis as pooling"

    def match(self, node: ir.Node) -> Pooled | None:
        """Return the axis and the sizes of the map; None for any other node."""
        axes = reduced_axes(node) if node.op_type == "ReduceMean" else ()
        known = sizes(node.inputs[0], 4) if axes in ((HEIGHT,), (WIDTH,)) else None
        size = None if known is None else known[axes[0]]
        return None if known is None or size is None or not 1 < size <= LONGEST else (axes[0], known)

    def kind_of(self, node: ir.Node, found: Pooled) -> str:
        """Return the kind by axis, its size and the channels."""
        axis, known = found
        return f"mean over {known[axis]} {'rows' if axis == HEIGHT else 'columns'} of {known[1] or 'any'} channels"

    def write(self, write: Writer, node: ir.Node, found: Pooled) -> ir.Value:
        """Write an AveragePool and, if the axis goes, a Squeeze."""
        axis, known = found
        window = [known[axis] or 1, 1] if axis == HEIGHT else [1, known[axis] or 1]
        pooled = write.node("AveragePool", [node.inputs[0]], "pooled", kernel_shape=window)
        if node.attributes.get_int("keepdims", 1) == 0:
            pooled = write.node("Squeeze", [pooled, write.weight(np.array([axis], np.int64), "axis")], "squeezed")
        return pooled


class PooledMapByMap(PooledMean):
    """ReduceMean over the height as AveragePool of volumes.

    Does not apply to the width, whose numbers lie side by side.
    """

    name = "means along one axis as pooling, map by map"

    def match(self, node: ir.Node) -> Pooled | None:
        """Return the height's axis and the sizes of the map."""
        found = super().match(node)
        return found if found is not None and found[0] == HEIGHT else None

    def write(self, write: Writer, node: ir.Node, found: Pooled) -> ir.Value:
        """Write a view with an axis of depth, an AveragePool, and a view without it."""
        volume = write.node("Unsqueeze", [node.inputs[0], write.number(HEIGHT, "depth")], "volume")
        pooled = write.node("AveragePool", [volume], "pooled", kernel_shape=[1, found[1][HEIGHT] or 1, 1])
        gone = [HEIGHT] if node.attributes.get_int("keepdims", 1) else [HEIGHT, HEIGHT + 1]
        return write.node("Squeeze", [pooled, write.weight(np.array(gone, np.int64), "gone")], "flat")


TURN = 2
REWRITES = (PooledMean(), PooledMapByMap())
