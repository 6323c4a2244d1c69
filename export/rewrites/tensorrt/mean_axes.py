"""A mean over height and width with its axes kept, or without them.

The product, the activation and the gate behind it then stand beside another Unsqueeze or Squeeze, and the builder sees
another pattern: a 1x1 convolution of a map of one pixel, or a matrix product of rows.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import Writer
from .spatial_mean import SPATIAL, MeanRewrite, is_spatial, keeps_axes, reduce, with_axes


class KeptAxes(MeanRewrite):
    """A mean without axes, or a pooling, as a ReduceMean that keeps its axes."""

    name = "mean that keeps its axes"

    def applies(self, node: ir.Node) -> bool:
        """Return True unless it is such a ReduceMean."""
        return not (is_spatial(node) and keeps_axes(node))

    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write a ReduceMean."""
        return reduce(write, node, found, SPATIAL, "mean", keep=True)


class DroppedAxes(MeanRewrite):
    """A mean that keeps its axes as one without, and an Unsqueeze."""

    name = "mean without its axes"

    def applies(self, node: ir.Node) -> bool:
        """Return True if it keeps its axes."""
        return keeps_axes(node)

    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write a ReduceMean and an Unsqueeze."""
        return with_axes(write, reduce(write, node, found, SPATIAL, "mean", keep=False), "unsqueezed")


TURN = 1
REWRITES = (KeptAxes(), DroppedAxes())
