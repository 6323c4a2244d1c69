"""The nodes of a graph that compute in float64, which TensorRT does not have."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from ..node_line import at, line_of_node

SHOWN = 3


def float64_notes(model: ir.Model) -> tuple[str, ...]:
    """Return one sentence that names the operators in float64 and the user's line of the first; none if there is none.

    Casts into float64 and constants are no operators of their own.
    """
    nodes = [node for node in ir.traversal.RecursiveGraphIterator(model.graph) if _computes_in_float64(node)]
    if not nodes:
        return ()
    kinds = Counter(node.op_type for node in nodes).most_common()
    named = ", ".join(f"{count} {kind}" for kind, count in kinds[:SHOWN]) + (", …" if len(kinds) > SHOWN else "")
    return (
        f"{len(nodes)} operators compute in float64 ({named}){at(line_of_node(nodes[0]))}: TensorRT has no float64 and "
        "takes float32 for it; remove .double() if float32 is enough",
    )


def _computes_in_float64(node: ir.Node) -> bool:
    if node.op_type in ("Cast", "CastLike", "Constant", "Identity"):
        return False
    return any(value is not None and value.dtype == ir.DataType.DOUBLE for value in (*node.inputs, *node.outputs))
