"""HardSwish written out: x times HardSigmoid(x), or with Clip.

TensorRT got the operator late, its parser refuses it in bfloat16, and of its parts a builder may make one elementwise
kernel together with what stands beside them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Writer
from .spatial_mean import given

SLOPE, OFFSET, MIDDLE, TOP = 1 / 6, 0.5, 3, 6  # of HardSwish, from its definition in ONNX


class BySigmoid:
    """HardSwish(x) as x · HardSigmoid(x)."""

    name = "HardSwish by HardSigmoid"

    def kind(self, node: ir.Node) -> str:
        """Return one kind for every place."""
        return "HardSwish" if node.op_type == "HardSwish" else ""

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place a HardSigmoid and a Mul."""
        write, value = Writer(node), given(node)
        slope, offset = ir.AttrFloat32("alpha", SLOPE), ir.AttrFloat32("beta", OFFSET)
        gate = write.node("HardSigmoid", [value], "gate", alpha=slope, beta=offset)
        write.put(write.node("Mul", [value, gate], "gated"))


class ByClip:
    """HardSwish(x) as x · Clip(x + 3, 0, 6) / 6."""

    name = "HardSwish by Clip"

    def kind(self, node: ir.Node) -> str:
        """Return one kind for every place."""
        return BySigmoid().kind(node)

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place an Add, a Clip and two Mul."""
        write, value = Writer(node), given(node)
        assert value.dtype is not None
        dtype = value.dtype.numpy()

        def number(of: float, word: str) -> ir.Value:
            return write.weight(np.array(of, dtype), word)

        moved = write.node("Add", [value, number(MIDDLE, "middle")], "moved")
        cut = write.node("Clip", [moved, number(0, "bottom"), number(TOP, "top")], "cut")
        gate = write.node("Mul", [cut, number(SLOPE, "slope")], "gate")
        write.put(write.node("Mul", [value, gate], "gated"))


TURN = 6
REWRITES = (BySigmoid(), ByClip())
