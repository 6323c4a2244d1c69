"""A mean over height and width as a pooling.

GlobalAveragePool holds for every size. AveragePool has its window in the graph, so that the builder may take a pooling
kernel; it does not apply if height or width may vary.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import Writer, sizes
from .spatial_mean import given, is_spatial, kind_of_mean, put_mean


class GlobalPool:
    """ReduceMean as GlobalAveragePool."""

    name = "mean as GlobalAveragePool"

    def kind(self, node: ir.Node) -> str:
        """Return the kind by number of channels."""
        return kind_of_mean(node) if is_spatial(node) else ""

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a GlobalAveragePool and, if the axes go, a Squeeze."""
        write = Writer(node)
        put_mean(write, node, write.node("GlobalAveragePool", [given(node)], "pooled"))


class WindowPool:
    """A mean as AveragePool over the whole map."""

    name = "mean as AveragePool"

    def kind(self, node: ir.Node) -> str:
        """Return the kind by number of channels."""
        known = sizes(node.inputs[0], 4) if node.inputs else None
        return "" if known is None or None in known[2:] else kind_of_mean(node)

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place an AveragePool and, if the axes go, a Squeeze."""
        known = sizes(node.inputs[0], 4)
        assert known is not None
        write = Writer(node)
        window = [size or 1 for size in known[2:]]
        put_mean(write, node, write.node("AveragePool", [given(node)], "pooled", kernel_shape=window))


TURN = 1
REWRITES = (GlobalPool(), WindowPool())
