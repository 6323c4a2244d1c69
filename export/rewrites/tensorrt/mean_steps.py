"""A mean over height and width in another order: over one axis of all pixels, or over the width and then the height.

A reduction over the last axis alone is what every library has its fastest kernel for. Of two steps the second is
small, so that the first alone decides.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Writer
from .spatial_mean import given, kind_of_mean, put_mean, reduce, with_axes


class FlatMean:
    """A mean over one axis that holds all pixels."""

    name = "mean over one axis of pixels"

    def kind(self, node: ir.Node) -> str:
        """Return the kind of a mean."""
        return kind_of_mean(node)

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a Reshape, a ReduceMean, and the axes."""
        write = Writer(node)
        # 0: as there, -1: what is left
        flat = write.node("Reshape", [given(node), write.weight(np.array([0, 0, -1]), "pixels")], "flat")
        put_mean(write, node, with_axes(write, reduce(write, node, flat, (2,), "mean", keep=True), "map", (3,)))


class TwoMeans:
    """A mean over the width, then over the height."""

    name = "mean over width, then height"

    def kind(self, node: ir.Node) -> str:
        """Return the kind of a mean."""
        return kind_of_mean(node)

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place two ReduceMean."""
        write = Writer(node)
        rows = reduce(write, node, given(node), (3,), "of rows", keep=True)
        put_mean(write, node, reduce(write, node, rows, (2,), "of all", keep=True))


TURN = 1
REWRITES = (FlatMean(), TwoMeans())
