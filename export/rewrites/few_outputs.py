"""A convolution of few output channels as one of more that takes several steps to the side at a time.

The spatial gates of CBAM, BAM and triplet attention make one channel out of two. ONNX Runtime computes eight output
channels at once and throws seven away. Here the eight are eight neighbours in a row: the kernel is seven columns wider
and moves eight columns at a time, and the channels then go back to where they are in the row. It does twice the work
of one channel in place of eight times. Does not apply to more than one output channel, to groups, strides or
dilation, or if the weights or the bias are computed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .rewrite import Matched, Writer, constant, moves_by_one, sizes

STEP = 8  # output channels that are computed at once
LARGEST = 64  # input channels; with more, a kernel fills its vectors with them


class FewOutputs(Matched[np.ndarray]):
    """Conv to one channel as Conv to eight columns of it."""

    name = "one output channel as columns of several"

    def match(self, node: ir.Node) -> np.ndarray | None:
        """Return the weight of a convolution to one channel."""
        weight = constant(node.inputs[1]) if node.op_type == "Conv" else None
        if weight is None or weight.ndim != 4 or weight.shape[0] != 1 or weight.shape[1] > LARGEST:
            return None
        if len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None:
            return None
        if not moves_by_one(node) or node.attributes.get_int("group", 1) != 1 or weight.shape[3] == 1:
            return None
        return None if sizes(node.outputs[0], 4) is None else weight

    def kind_of(self, node: ir.Node, found: np.ndarray) -> str:
        """Return the kind by kernel and input channels."""
        return f"Conv {found.shape[2]}x{found.shape[3]}, {found.shape[1]} channels to one"

    def write(self, write: Writer, node: ir.Node, found: np.ndarray) -> ir.Value:
        """Write a wider Conv, its channels put into the row, and what is beyond the row cut off."""
        _, inputs, height, width = found.shape
        wide = np.zeros((STEP, inputs, height, width + STEP - 1), found.dtype)
        for column in range(STEP):
            wide[column, :, :, column : column + width] = found[0]
        top, left, bottom, right = node.attributes.get_ints("pads", (0, 0, 0, 0))
        operands = [node.inputs[0], write.weight(wide, "columns")]
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if bias is not None:
            operands.append(write.weight(np.repeat(bias, STEP), "bias of each"))
        # as many zeros more on the right as the last step may reach beyond the row
        pads = [top, left, bottom, right + STEP - 1]
        columns = write.node("Conv", operands, "in columns", strides=[1, STEP], pads=pads)
        rows = write.node("Transpose", [columns], "columns last", perm=[0, 2, 3, 1])
        # 0: as there, -1: what is left; the rows in their place, steps and columns together
        merged = write.node("Reshape", [rows, write.weight(np.array([0, 0, -1], np.int64), "rows")], "in rows")
        size = (sizes(node.outputs[0], 4) or ())[3]
        if size is None or size % STEP:
            end = write.size(node.inputs[0], 3, size, left + right - width + 1)
            bounds = [write.number(0, "first column"), end, write.number(2, "along the row")]
            merged = write.node("Slice", [merged, *bounds], "cut off")
        return write.node("Unsqueeze", [merged, write.number(1, "channel")], "one channel")


TURN = 4
REWRITES = (FewOutputs(),)
