"""HardSwish written out: x times HardSigmoid(x), or with Clip.

TensorRT got the operator late, its parser refuses it in bfloat16, and of its parts a builder may make one elementwise
kernel together with what stands beside them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Matched, Writer
from .spatial_mean import given

SLOPE, OFFSET, MIDDLE, TOP = 1 / 6, 0.5, 3, 6  # of HardSwish, from its definition in ONNX


class BySigmoid(Matched[ir.Value]):
    """HardSwish(x) as x · HardSigmoid(x)."""

    name = "HardSwish by HardSigmoid"
    place = "HardSwish"

    def match(self, node: ir.Node) -> ir.Value | None:
        """Return what a HardSwish reads."""
        return given(node) if node.op_type == "HardSwish" else None

    def write(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write a HardSigmoid and a Mul."""
        slope, offset = ir.AttrFloat32("alpha", SLOPE), ir.AttrFloat32("beta", OFFSET)
        gate = write.node("HardSigmoid", [found], "gate", alpha=slope, beta=offset)
        return write.node("Mul", [found, gate], "gated")


class ByClip(BySigmoid):
    """HardSwish(x) as x · Clip(x + 3, 0, 6) / 6."""

    name = "HardSwish by Clip"

    def write(self, write: Writer, node: ir.Node, found: ir.Value) -> ir.Value:
        """Write an Add, a Clip and two Mul."""
        assert found.dtype is not None
        dtype = found.dtype.numpy()

        def number(of: float, word: str) -> ir.Value:
            return write.weight(np.array(of, dtype), word)

        moved = write.node("Add", [found, number(MIDDLE, "middle")], "moved")
        cut = write.node("Clip", [moved, number(0, "bottom"), number(TOP, "top")], "cut")
        gate = write.node("Mul", [cut, number(SLOPE, "slope")], "gate")
        return write.node("Mul", [found, gate], "gated")


TURN = 6
REWRITES = (BySigmoid(), ByClip())
