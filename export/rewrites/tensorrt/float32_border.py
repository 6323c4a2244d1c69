"""Elementwise operators on a graph's own float32 inputs and outputs in float32.

A block whose input is float32 reads it, writes it in half precision, and reads that again for its product with the
gate. In float32 the product reads the input itself and writes the output, and only what stands between is cast. Does
not apply if inputs and outputs are in half precision.
"""

from __future__ import annotations

import onnx_ir as ir

from ....core.graph_io import FLOAT32
from ....core.operators import ARITHMETIC


class Float32Border:
    """Elementwise operators that read an input or give an output in float32."""

    name = "products at the border in float32"
    kind = "precision at the border"
    is_low = False

    def nodes(self, graph: ir.Graph, *, io: str) -> frozenset[str]:
        """Return those operators."""
        inputs = {*graph.inputs} if io == FLOAT32 else set()
        is_output = io == FLOAT32
        return frozenset(
            str(node.name)
            for node in graph
            if node.op_type in ARITHMETIC
            and (
                any(value in inputs for value in node.inputs)
                or (is_output and any(value.is_graph_output() for value in node.outputs))
            )
        )


LOWERINGS = (Float32Border(),)
