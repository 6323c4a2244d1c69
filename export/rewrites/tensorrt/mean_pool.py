"""A mean over height and width as a pooling.

GlobalAveragePool holds for every size. AveragePool has its window in the graph, so that the builder may take a pooling
kernel, which reads a map with its channels last, as convolutions leave it; a reduction wants it in rows. In windows
of equal size, with the mean of their means behind it, there is work for every multiprocessor, and a window is small
enough for half precision. Neither applies if height or width may vary.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import Writer, sizes
from .spatial_mean import SPATIAL, given, is_spatial, kind_of_mean, put_mean, reduce

LONGEST = 8  # of a side of a window; 64 numbers are few enough for half precision


class GlobalPool:
    """ReduceMean as GlobalAveragePool."""

    name = "mean as GlobalAveragePool"

    def kind(self, node: ir.Node) -> str:
        """Return the kind of a mean."""
        return kind_of_mean(node) if is_spatial(node) else ""

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a GlobalAveragePool and, if the axes go, a Squeeze."""
        write = Writer(node)
        put_mean(write, node, write.node("GlobalAveragePool", [given(node)], "pooled"))


class WindowPool:
    """A mean as AveragePool over the whole map."""

    name = "mean as AveragePool"

    def kind(self, node: ir.Node) -> str:
        """Return the kind of a mean."""
        known = sizes(node.inputs[0], 4) if node.inputs else None
        return "" if known is None or None in known[2:] else kind_of_mean(node)

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place an AveragePool and, if the axes go, a Squeeze."""
        known = sizes(node.inputs[0], 4)
        assert known is not None
        write = Writer(node)
        window = [size or 1 for size in known[2:]]
        put_mean(write, node, write.node("AveragePool", [given(node)], "pooled", kernel_shape=window))


class WindowMeans:
    """A mean as AveragePool over windows, and the mean of the windows. Does not apply to sizes without such windows."""

    name = "mean of means of windows"

    def kind(self, node: ir.Node) -> str:
        """Return the kind of a mean."""
        return kind_of_mean(node) if _windows(node) else ""

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place an AveragePool, a ReduceMean and, if the axes go, a Squeeze."""
        write, window = Writer(node), _windows(node)
        means = write.node("AveragePool", [given(node)], "windows", kernel_shape=window, strides=window)
        put_mean(write, node, reduce(write, node, means, SPATIAL, "mean", keep=True))


def _windows(node: ir.Node) -> list[int]:
    """Return the largest window that fits into height and width without a rest; none if it has one pixel or all."""
    known = sizes(node.inputs[0], 4) if node.inputs else None
    if known is None or known[2] is None or known[3] is None:
        return []
    window = [max(part for part in range(1, LONGEST + 1) if size % part == 0) for size in (known[2], known[3])]
    return window if 1 < window[0] * window[1] < known[2] * known[3] else []


TURN = 1
REWRITES = (GlobalPool(), WindowPool(), WindowMeans())
