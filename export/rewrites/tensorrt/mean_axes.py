"""A mean over height and width with its axes kept, or without them.

The product, the activation and the gate behind it then stand beside another Unsqueeze or Squeeze, and the builder sees
another pattern: a 1x1 convolution of a map of one pixel, or a matrix product of rows.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import Writer
from .spatial_mean import SPATIAL, given, is_mean, is_spatial, keeps_axes, kind_of_mean, put_mean, reduce, with_axes


class KeptAxes:
    """A mean without axes, or a pooling, as a ReduceMean that keeps its axes."""

    name = "mean that keeps its axes"

    def kind(self, node: ir.Node) -> str:
        """Return the kind of a mean."""
        is_kept = is_spatial(node) and keeps_axes(node)
        return "" if is_kept else kind_of_mean(node)

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a ReduceMean and, if the axes go, a Squeeze."""
        write = Writer(node)
        put_mean(write, node, reduce(write, node, given(node), SPATIAL, "mean", keep=True))


class DroppedAxes:
    """A mean that keeps its axes as one without, and an Unsqueeze."""

    name = "mean without its axes"

    def kind(self, node: ir.Node) -> str:
        """Return the kind of a mean."""
        return kind_of_mean(node) if is_mean(node) and keeps_axes(node) else ""

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a ReduceMean and an Unsqueeze."""
        write = Writer(node)
        write.put(with_axes(write, reduce(write, node, given(node), SPATIAL, "mean", keep=False), "unsqueezed"))


TURN = 1
REWRITES = (KeptAxes(), DroppedAxes())
