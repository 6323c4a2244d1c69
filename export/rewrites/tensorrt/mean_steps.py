"""A mean over height and width in another order: over one axis of all pixels, or over the width and then the height.

A reduction over the last axis alone is what every library has its fastest kernel for. Of two steps the second is
small, so that the first alone decides.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Writer
from .spatial_mean import MeanRewrite, reduce, with_axes


class FlatMean(MeanRewrite):
    """A mean over one axis that holds all pixels."""

    name = "mean over one axis of pixels"

    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write a Reshape, a ReduceMean, and an Unsqueeze."""
        # 0: as there, -1: what is left
        flat = write.node("Reshape", [found, write.weight(np.array([0, 0, -1]), "pixels")], "flat")
        return with_axes(write, reduce(write, node, flat, (2,), "mean", keep=True), "map", (3,))


class TwoMeans(MeanRewrite):
    """A mean over the width, then over the height."""

    name = "mean over width, then height"

    def mean(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write two ReduceMean."""
        rows = reduce(write, node, found, (3,), "of rows", keep=True)
        return reduce(write, node, rows, (2,), "of all", keep=True)


TURN = 1
REWRITES = (FlatMean(), TwoMeans())
