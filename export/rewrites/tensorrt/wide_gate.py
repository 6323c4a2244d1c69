"""A gate of one number for each channel, widened to a row before it multiplies the map.

Elementwise kernels of maps in rows load neighbours together if every operand has them. A gate (n, c, 1, 1) has none:
on an H200, TensorRT 8.6 took 26 microseconds for sigmoid and product of 8x256x56x56 in float16, and 13.6 for a gate
(n, 1, h, w) of the same map. One row (n, c, 1, w) costs a small kernel and lets the large one load neighbours. An
activation goes behind the widening, so that it stands beside the product.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..pixel_linear import ELEMENTWISE
from ..rewrite import Matched, Writer, constant, sizes
from .adjacent_activation import activation_before, reshaped
from .spatial_mean import given

WIDTH = 3
Operands = tuple[int, ir.Value, tuple[int | None, ...]]  # which one is the gate, the gate, and the sizes of the map


class WidenedGate(Matched[Operands]):
    """x · gate as x · (gate, once for each column)."""

    name = "gate widened to a row by Expand"
    place = "gate of each channel"

    def match(self, node: ir.Node) -> Operands | None:
        """Return the operands of a product of a map and a gate; None for any other node."""
        if node.op_type != "Mul":
            return None
        for place, gate in enumerate(node.inputs):
            found, known = sizes(gate, 4), sizes(node.inputs[1 - place], 4)
            is_map = known is not None and known[2] != 1 and known[WIDTH] != 1
            if gate is None or found is None or known is None or constant(gate) is not None:
                continue
            if is_map and found[2:] == (1, 1) and found[1] == known[1]:
                return place, gate, known
        return None

    def write(self, write: Writer, node: ir.Node, found: Operands) -> ir.Value:
        """Write the wider gate and the product."""
        place, gate, known = found
        value = given(node, 1 - place)
        activation, shapes = _activation(gate)
        narrow = gate if activation is None else reshaped(write, given(activation), shapes)
        wide = self._widened(write, narrow, value, known[WIDTH])
        if activation is not None:
            wide = write.node(activation.op_type, [wide], "activation", **activation.attributes)
        operands = [value, wide] if place else [wide, value]
        return write.node("Mul", operands, "product")

    def _widened(self, write: Writer, gate: ir.Value, value: ir.Value, size: int | None) -> ir.Value:
        if size is not None:
            wanted = write.weight(np.array([1, 1, 1, size], np.int64), "shape of the row")
        else:
            ones = write.weight(np.ones(WIDTH, np.int64), "ones")
            wanted = write.integers("Concat", [ones, write.size(value, WIDTH, None)], "shape of the row", axis=0)
        return write.node("Expand", [gate, wanted], "row")


class ProductGate(WidenedGate):
    """A gate widened to a row by a matrix product with ones. Does not apply to a width that may vary."""

    name = "gate widened to a row by a product"

    def match(self, node: ir.Node) -> Operands | None:
        """Return the operands of a product with a map of a known width."""
        found = super().match(node)
        return None if found is None or found[2][WIDTH] is None else found

    def _widened(self, write: Writer, gate: ir.Value, value: ir.Value, size: int | None) -> ir.Value:
        assert gate.dtype is not None
        return write.node("MatMul", [gate, write.weight(np.ones((1, size or 1), gate.dtype.numpy()), "ones")], "row")


def _activation(gate: ir.Value) -> tuple[ir.Node | None, list[ir.Node]]:
    """Return the elementwise operator that gives the gate and what reshapes it on the way, if nothing else reads it."""
    node = gate.producer()
    if node is None or len(gate.uses()) != 1 or gate.is_graph_output():
        return None, []
    return (node, []) if node.op_type in ELEMENTWISE else activation_before(node) or (None, [])


TURN = 7
REWRITES = (WidenedGate(), ProductGate())
