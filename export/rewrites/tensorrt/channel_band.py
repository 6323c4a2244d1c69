"""A convolution along the channels of one row, as ECA has, as a matrix product with a band of weights.

The convolution has one channel, so that a kernel for convolutions has almost nothing to do beside its start; in two
dimensions it also needs axes that the product does not. Does not apply to so many channels that the matrix is large.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Matched, Writer, constant, moves_by_one, sizes
from .spatial_mean import given

MOST = 1024  # channels; the matrix of so many is 2 MB in float16


class ChannelBand(Matched[tuple[np.ndarray, int]]):
    """Conv of (n, 1, c) as (n, 1, c) times (c, c)."""

    name = "convolution along channels as a matrix product"
    place = "convolution along channels"

    def match(self, node: ir.Node) -> tuple[np.ndarray, int] | None:
        """Return the weight and the number of channels."""
        weight = constant(node.inputs[1]) if node.op_type == "Conv" else None
        if weight is None or weight.ndim != 3 or weight.shape[:2] != (1, 1):
            return None
        before, after = sizes(node.inputs[0], 3), sizes(node.outputs[0], 3)
        if before is None or after is None or before[2] is None or before[1:] != after[1:] or before[2] > MOST:
            return None
        has_numbers = len(node.inputs) < 3 or constant(node.inputs[2]) is not None
        return (weight, before[2]) if moves_by_one(node) and has_numbers else None

    def write(self, write: Writer, node: ir.Node, found: tuple[np.ndarray, int]) -> ir.Value:
        """Write a MatMul and, for a bias, an Add."""
        weight, channels = found
        before = node.attributes.get_ints("pads", (0, 0))[0]
        band = np.zeros((channels, channels), weight.dtype)
        for place, number in enumerate(weight[0, 0]):
            if abs(before - place) >= channels:  # it meets zeros alone
                continue
            band += np.diag(np.full(channels - abs(before - place), number, weight.dtype), before - place)
        result = write.node("MatMul", [given(node), write.weight(band, "band")], "product")
        if len(node.inputs) > 2:
            result = write.node("Add", [result, node.inputs[2]], "with bias")
        return result


TURN = 2
REWRITES = (ChannelBand(),)
