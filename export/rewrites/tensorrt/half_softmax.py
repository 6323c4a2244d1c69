"""Softmax in half precision, between half-precision products.

Builders take the products and the softmax of attention as one fused kernel only if all of it has one type; it adds up
in float32 inside. A Cast to float32 and back also writes the scores once more in each type.
"""

from __future__ import annotations

import onnx_ir as ir


class HalfSoftmax:
    """Every softmax in half precision."""

    name = "softmax in half precision"
    kind = "precision of softmax"
    is_low = True

    def nodes(self, graph: ir.Graph, *, io: str) -> frozenset[str]:
        """Return the softmax operators."""
        return frozenset(str(node.name) for node in graph if node.op_type == "Softmax")


LOWERINGS = (HalfSoftmax(),)
