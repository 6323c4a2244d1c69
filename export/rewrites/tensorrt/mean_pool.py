"""A mean over height and width as a pooling.

GlobalAveragePool holds for every size. AveragePool has its window in the graph, so that the builder may take a pooling
kernel, which reads a map with its channels last, as convolutions leave it; a reduction wants it in rows. In windows
of equal size, with the mean of their means behind it, there is work for every multiprocessor, and a window is small
enough for half precision. Neither applies if height or width may vary.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import Writer, sizes
from .spatial_mean import SPATIAL, MeanRewrite, is_spatial, reduce

LONGEST = 8  # of a side of a window; 64 numbers are few enough for half precision


class GlobalPool(MeanRewrite):
    """ReduceMean as GlobalAveragePool."""

    name = "mean as GlobalAveragePool"

    def applies(self, node: ir.Node) -> bool:
        """Return True for a ReduceMean."""
        return is_spatial(node)

    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write a GlobalAveragePool."""
        return write.node("GlobalAveragePool", [found], "pooled")


class WindowPool(MeanRewrite):
    """A mean as AveragePool over the whole map."""

    name = "mean as AveragePool"

    def applies(self, node: ir.Node) -> bool:
        """Return True if height and width are known."""
        return None not in (sizes(node.inputs[0], 4) or ())[2:]

    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write an AveragePool."""
        window = [size or 1 for size in (sizes(found, 4) or ())[2:]]
        return write.node("AveragePool", [found], "pooled", kernel_shape=window)


class WindowMeans(MeanRewrite):
    """A mean as AveragePool over windows, and the mean of the windows. Does not apply to sizes without such windows."""

    name = "mean of means of windows"

    def applies(self, node: ir.Node) -> bool:
        """Return True if there are such windows."""
        return bool(_windows(node.inputs[0]))

    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write an AveragePool and a ReduceMean."""
        window = _windows(found)
        means = write.node("AveragePool", [found], "windows", kernel_shape=window, strides=window)
        return reduce(write, node, means, SPATIAL, "mean", keep=True)


def _windows(value: ir.Value | None) -> list[int]:
    """Return the largest window that fits into height and width without a rest; none if it has one pixel or all."""
    known = sizes(value, 4)
    if known is None or known[2] is None or known[3] is None:
        return []
    window = [max(part for part in range(1, LONGEST + 1) if size % part == 0) for size in (known[2], known[3])]
    return window if 1 < window[0] * window[1] < known[2] * known[3] else []


TURN = 1
REWRITES = (GlobalPool(), WindowPool(), WindowMeans())
