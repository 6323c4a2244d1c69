"""A sum of two products with one weight as one product of the sum.

CBAM sends the mean and the maximum of its map through the same two layers and adds the results. The second layer is
linear, so that the sum can be taken before it, with the bias twice.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrite import Matched, Writer, constant
from .gate_chain import product_of


class SummedProducts(Matched[tuple[ir.Node, ir.Node]]):
    """W·a + b + W·c + b as W·(a + c) + 2·b."""

    name = "one product of a sum"
    place = "sum of products with one weight"

    def match(self, node: ir.Node) -> tuple[ir.Node, ir.Node] | None:
        """Return the products that a node adds up; None unless they have one weight and one bias."""
        made = [None if value is None or len(value.uses()) != 1 else value.producer() for value in node.inputs]
        if node.op_type != "Add" or len(made) != 2 or made[0] is None or made[1] is None or made[0] is made[1]:
            return None
        first, second = made[0], made[1]
        is_one = first.op_type == second.op_type and list(first.inputs[1:]) == list(second.inputs[1:])
        if not is_one or first.attributes != second.attributes or product_of(first) is None:
            return None
        return first, second

    def write(self, write: Writer, node: ir.Node, found: tuple[ir.Node, ir.Node]) -> ir.Value:
        """Write an Add and the product."""
        first, second = found
        total = write.node("Add", [first.inputs[0], second.inputs[0]], "sum")
        operands = [total, first.inputs[1]]
        bias = constant(first.inputs[2]) if len(first.inputs) > 2 else None
        if bias is not None:
            operands.append(write.weight(np.asarray(2 * bias, bias.dtype), "bias of both"))
        return write.node(first.op_type, operands, "product", **first.attributes)


TURN = 2
REWRITES = (SummedProducts(),)
