"""An activation moved behind the operators that only reshape what it gives, beside the product that reads it.

A sigmoid, an Unsqueeze and a product are two elementwise kernels where the builder does not look through the Unsqueeze.
Behind it the sigmoid stands beside the product, with the residual addition and the activation that follow, so that one
kernel can take them all.
"""

from __future__ import annotations

import onnx_ir as ir

from ..pixel_linear import ELEMENTWISE
from ..rewrite import Matched, Writer
from .spatial_mean import given

SHAPES = frozenset({"Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "Gather"})


class AdjacentActivation(Matched[tuple[ir.Node, list[ir.Node]]]):
    """Shape(f(x)) as f(Shape(x))."""

    name = "activation beside what reads it"

    def match(self, node: ir.Node) -> tuple[ir.Node, list[ir.Node]] | None:
        """Return an activation and what reshapes it; the place is the last that does."""
        return activation_before(node)

    def kind_of(self, node: ir.Node, found: tuple[ir.Node, list[ir.Node]]) -> str:
        """Return the kind by the activation."""
        return f"{found[0].op_type} before what reshapes it"

    def write(self, write: Writer, node: ir.Node, found: tuple[ir.Node, list[ir.Node]]) -> ir.Value:
        """Write what reshapes, then the activation."""
        activation, shapes = found
        value = reshaped(write, given(activation), shapes)
        return write.node(activation.op_type, [value], "activation", **activation.attributes)


def reshaped(write: Writer, value: ir.Value, shapes: list[ir.Node]) -> ir.Value:
    """Write what reshapes a value, in order."""
    for number, shape in enumerate(shapes):
        value = write.node(shape.op_type, [value, *shape.inputs[1:]], f"shape {number}", **shape.attributes)
    return value


def activation_before(last: ir.Node) -> tuple[ir.Node, list[ir.Node]] | None:
    """Return an activation and the operators from there to the ``last`` that only reshape it; None without one."""
    if last.op_type not in SHAPES or any(use.node.op_type in SHAPES for use in last.outputs[0].uses()):
        return None
    shapes = [last]
    while True:
        value = shapes[0].inputs[0]
        node = None if value is None else value.producer()
        if node is None or value is None or len(value.uses()) != 1 or value.is_graph_output():
            return None
        if node.op_type in ELEMENTWISE:
            return node, shapes
        if node.op_type not in SHAPES:
            return None
        shapes.insert(0, node)


TURN = 6
REWRITES = (AdjacentActivation(),)
