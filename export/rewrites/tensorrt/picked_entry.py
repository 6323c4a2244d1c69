"""One entry picked along an axis, written without Gather.

TensorRT hands a Gather to another compiler than what stands around it, or runs it as a kernel of its own. Of an axis of
one entry a Squeeze is left; of a longer one a Slice and a Squeeze.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Matched, Writer, constant
from .spatial_mean import given


class PickedEntry(Matched[tuple[int, int, int]]):
    """Gather with one index as Squeeze, or Slice and Squeeze."""

    name = "picked entry without Gather"
    place = "one entry of an axis"

    def match(self, node: ir.Node) -> tuple[int, int, int] | None:
        """Return the axis, its length and the index of the entry; None for any other node."""
        if node.op_type != "Gather" or node.inputs[0] is None or node.inputs[0].shape is None:
            return None
        index, shape = constant(node.inputs[1]), node.inputs[0].shape
        if index is None or index.ndim or constant(node.inputs[0]) is not None:
            return None
        axis = node.attributes.get_int("axis", 0) % len(shape)
        size = shape[axis]
        return (axis, size, int(index) % size) if isinstance(size, int) else None

    def write(self, write: Writer, node: ir.Node, found: tuple[int, int, int]) -> ir.Value:
        """Write a Squeeze, before it a Slice if there are more entries."""
        axis, size, index = found
        value = given(node)
        if size > 1:
            bounds = [write.number(index, "first"), write.number(index + 1, "end"), write.number(axis, "axis")]
            value = write.node("Slice", [value, *bounds], "sliced")
        return write.node("Squeeze", [value, write.weight(np.array([axis], np.int64), "gone")], "entry")


TURN = 2
REWRITES = (PickedEntry(),)
