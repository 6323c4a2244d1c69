"""A mean over height and width with its axes kept, or without them.

The product, the activation and the gate behind it then stand beside another Unsqueeze or Squeeze, and the builder sees
another pattern: a 1x1 convolution of a map of one pixel, or a matrix product of rows.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import Writer
from .spatial_mean import SPATIAL, is_spatial, keeps_axes, kind_of_mean, reduce, with_axes, without_axes


class KeptAxes:
    """A mean without axes as one that keeps them, and a Squeeze."""

    name = "mean that keeps its axes"

    def kind(self, node: ir.Node) -> str:
        """Return the kind by number of channels."""
        return kind_of_mean(node) if is_spatial(node) and not keeps_axes(node) else ""

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a ReduceMean and a Squeeze."""
        write, given = Writer(node), node.inputs[0]
        assert given is not None
        write.put(without_axes(write, reduce(write, node, given, SPATIAL, "mean", keep=True), "squeezed"))


class DroppedAxes:
    """A mean that keeps its axes as one without, and an Unsqueeze."""

    name = "mean without its axes"

    def kind(self, node: ir.Node) -> str:
        """Return the kind by number of channels."""
        return kind_of_mean(node) if is_spatial(node) and keeps_axes(node) else ""

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a ReduceMean and an Unsqueeze."""
        write, given = Writer(node), node.inputs[0]
        assert given is not None
        write.put(with_axes(write, reduce(write, node, given, SPATIAL, "mean", keep=False), "unsqueezed"))


TURN = 1
REWRITES = (KeptAxes(), DroppedAxes())
