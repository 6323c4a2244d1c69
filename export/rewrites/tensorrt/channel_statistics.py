"""The maximum and the mean over the channels of each pixel, which CBAM's spatial gate takes together.

Two reductions over an axis in the middle read the map twice. Over the last axis of one transposed map they stand side
by side and read neighbours in memory; where the map lies with its channels last the Transpose moves nothing. The mean
alone is also a 1x1 convolution with equal weights, which reads half precision and adds up in float32.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Matched, Writer, sizes
from ..split_reduction import reduced_axes
from .spatial_mean import given, keeps_axes, reduce, without_axes

OPERATORS = ("ReduceMax", "ReduceMean")
CHANNELS = (1,)


Reductions = tuple[list[str], ir.Value]  # the operators of a place in their order, and the map that both read


class ChannelsLast(Matched[Reductions]):
    """Both over the last axis of one transposed map."""

    name = "channel statistics with channels last"
    place = "maximum and mean over channels"

    def match(self, node: ir.Node) -> Reductions | None:
        """Return what a Concat joins."""
        return _reductions(node)

    def write(self, write: Writer, node: ir.Node, found: Reductions) -> ir.Value:
        """Write a Transpose, the reductions, a Concat and a Transpose back."""
        operators, value = found
        last = write.node("Transpose", [value], "channels last", perm=[0, 2, 3, 1])
        each = [reduce(write, node, last, (3,), name, keep=True, operator=name) for name in operators]
        joined = write.node("Concat", each, "joined", axis=3)
        return write.node("Transpose", [joined], "channels first", perm=[0, 3, 1, 2])


class MeanByConvolution(ChannelsLast):
    """The mean of the two as a 1x1 convolution; the maximum as it is."""

    name = "channel mean as a 1x1 convolution"

    def match(self, node: ir.Node) -> Reductions | None:
        """Return what a Concat joins; the channels must be known."""
        found = super().match(node)
        return None if found is None or _channels(found[1]) is None else found

    def write(self, write: Writer, node: ir.Node, found: Reductions) -> ir.Value:
        """Write a ReduceMax, a Conv and a Concat."""
        operators, value = found
        weight = _equal_weights(write, value)
        each = {
            "ReduceMean": lambda: write.node("Conv", [value, weight], "mean", kernel_shape=[1, 1]),
            "ReduceMax": lambda: reduce(write, node, value, CHANNELS, "maximum", keep=True, operator="ReduceMax"),
        }
        return write.node("Concat", [each[name]() for name in operators], "joined", axis=1)


class LoneMeanByConvolution(Matched[ir.Value]):
    """A mean over channels that stands alone as a 1x1 convolution."""

    name = "mean over channels as a 1x1 convolution"
    place = "mean over channels"

    def match(self, node: ir.Node) -> ir.Value | None:
        """Return the map; its channels must be known."""
        value = node.inputs[0] if node.op_type == "ReduceMean" and reduced_axes(node) == CHANNELS else None
        if value is None or _channels(value) is None or any(_reductions(use.node) for use in node.outputs[0].uses()):
            return None
        return value

    def write(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write a Conv and, if the axis goes, a Squeeze."""
        mean = write.node("Conv", [found, _equal_weights(write, found)], "mean", kernel_shape=[1, 1])
        return mean if keeps_axes(node) else without_axes(write, mean, "squeezed", CHANNELS)


def _channels(value: ir.Value) -> int | None:
    known = sizes(value, 4)
    return None if known is None else known[1]


def _equal_weights(write: Writer, value: ir.Value) -> ir.Value:
    """Return a kernel that takes the mean over the channels of a map."""
    channels = _channels(value)
    assert value.dtype is not None
    assert channels is not None
    return write.weight(np.full((1, channels, 1, 1), 1 / channels, value.dtype.numpy()), "equal weights")


def _reductions(node: ir.Node) -> Reductions | None:
    """Return what a Concat of a maximum and a mean over channels joins; None for any other node."""
    if node.op_type != "Concat" or node.attributes.get_int("axis", 0) not in (1, -3):
        return None
    found = [None if value is None else value.producer() for value in node.inputs]
    made = [one for one in found if one is not None]
    if len(found) != 2 or len(made) != 2 or sorted(one.op_type for one in made) != sorted(OPERATORS):
        return None
    is_pair = all(sizes(one.inputs[0], 4) and reduced_axes(one) == CHANNELS and keeps_axes(one) for one in made)
    if not is_pair or made[0].inputs[0] is not made[1].inputs[0]:
        return None
    return [one.op_type for one in made], given(made[0])


TURN = 4
REWRITES = (ChannelsLast(), MeanByConvolution(), LoneMeanByConvolution())
