"""The maximum and the mean over the channels of each pixel, which CBAM's spatial gate takes together.

Two reductions over an axis in the middle read the map twice. Over the last axis of one transposed map they stand side
by side and read neighbours in memory; where the map lies with its channels last the Transpose moves nothing. The mean
alone is also a 1x1 convolution with equal weights, which reads half precision and adds up in float32.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Writer, sizes
from ..split_reduction import reduced_axes
from .spatial_mean import given, keeps_axes, reduce, without_axes

OPERATORS = ("ReduceMax", "ReduceMean")
CHANNELS = (1,)


class ChannelsLast:
    """Both over the last axis of one transposed map."""

    name = "channel statistics with channels last"

    def kind(self, node: ir.Node) -> str:
        """Return one kind for every place; ``node`` is the Concat."""
        return _kind(node)

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a Transpose, the reductions, a Concat and a Transpose back."""
        write = Writer(node)
        operators, value = _reductions(node)
        last = write.node("Transpose", [value], "channels last", perm=[0, 2, 3, 1])
        found = [reduce(write, node, last, (3,), name, keep=True, operator=name) for name in operators]
        joined = write.node("Concat", found, "joined", axis=3)
        write.put(write.node("Transpose", [joined], "channels first", perm=[0, 3, 1, 2]))


class MeanByConvolution:
    """The mean of the two as a 1x1 convolution; the maximum as it is."""

    name = "channel mean as a 1x1 convolution"

    def kind(self, node: ir.Node) -> str:
        """Return one kind for every place; the channels must be known."""
        known = sizes(_reductions(node)[1], 4) if _kind(node) else None
        return "" if known is None or known[1] is None else _kind(node)

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a ReduceMax, a Conv and a Concat."""
        write = Writer(node)
        operators, value = _reductions(node)
        known = sizes(value, 4)
        assert value.dtype is not None
        assert known is not None
        assert known[1] is not None
        weight = write.weight(np.full((1, known[1], 1, 1), 1 / known[1], value.dtype.numpy()), "equal weights")
        found = {
            "ReduceMean": lambda: write.node("Conv", [value, weight], "mean", kernel_shape=[1, 1]),
            "ReduceMax": lambda: reduce(write, node, value, CHANNELS, "maximum", keep=True, operator="ReduceMax"),
        }
        write.put(write.node("Concat", [found[name]() for name in operators], "joined", axis=1))


class LoneMeanByConvolution:
    """A mean over channels that stands alone as a 1x1 convolution."""

    name = "mean over channels as a 1x1 convolution"

    def kind(self, node: ir.Node) -> str:
        """Return one kind for every place; the channels must be known."""
        if node.op_type != "ReduceMean" or reduced_axes(node) != CHANNELS:
            return ""
        known = sizes(node.inputs[0], 4)
        if known is None or known[1] is None or any(_kind(use.node) for use in node.outputs[0].uses()):
            return ""
        return "mean over channels"

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a Conv and, if the axis goes, a Squeeze."""
        write, value = Writer(node), given(node)
        known = sizes(value, 4)
        assert value.dtype is not None
        assert known is not None
        assert known[1] is not None
        weight = write.weight(np.full((1, known[1], 1, 1), 1 / known[1], value.dtype.numpy()), "equal weights")
        mean = write.node("Conv", [value, weight], "mean", kernel_shape=[1, 1])
        write.put(mean if keeps_axes(node) else without_axes(write, mean, "squeezed", CHANNELS))


def _kind(node: ir.Node) -> str:
    if node.op_type != "Concat" or node.attributes.get_int("axis", 0) not in (1, -3):
        return ""
    found = [None if value is None else value.producer() for value in node.inputs]
    made = [one for one in found if one is not None]
    if len(found) != 2 or len(made) != 2 or sorted(one.op_type for one in made) != sorted(OPERATORS):
        return ""
    is_pair = all(sizes(one.inputs[0], 4) and reduced_axes(one) == CHANNELS and keeps_axes(one) for one in made)
    if not is_pair or made[0].inputs[0] is not made[1].inputs[0]:
        return ""
    return "maximum and mean over channels"


def _reductions(node: ir.Node) -> tuple[list[str], ir.Value]:
    """Return the operators of a place in their order, and the map that both read."""
    made = [value.producer() for value in node.inputs if value is not None]
    found = [one for one in made if one is not None]
    return [one.op_type for one in found], given(found[0])


TURN = 4
REWRITES = (ChannelsLast(), MeanByConvolution(), LoneMeanByConvolution())
