"""A gate's few numbers in float32 from the squeeze to the product with the map.

The squeeze's mean is in float32 whatever follows. With its layers in float32 too, the one Cast stands beside the gate,
where it can be taken into the elementwise kernel of the product; the weights take twice the bytes, which are few.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import constant
from ..split_reduction import REDUCTIONS
from .spatial_mean import is_mean, is_spatial


class Float32Gates:
    """All that is made of the means and maxima over height and width alone in float32."""

    name = "gates in float32"
    kind = "precision of gates"
    is_low = False

    def nodes(self, graph: ir.Graph, *, io: str) -> frozenset[str]:
        """Return the nodes that read only what such a reduction gave, and constants."""
        small = {node.outputs[0] for node in graph if is_mean(node) or any(is_spatial(node, op) for op in REDUCTIONS)}
        found = set()
        for node in graph:
            computed = [value for value in node.inputs if value is not None and constant(value) is None]
            if computed and all(value in small for value in computed) and node.outputs[0] not in small:
                small.update(node.outputs)
                found.add(str(node.name))
        return frozenset(found)


LOWERINGS = (Float32Gates(),)
