"""Write a Where among booleans as And and Or: ONNX Runtime has no kernel for it (microsoft/onnxruntime#9539)."""

from __future__ import annotations

import onnx_ir as ir


def write_bool_wheres(model: ir.Model) -> int:
    """Replace such nodes of ``model``, in bodies too, and return how many there were."""
    count = 0
    for node in [*ir.traversal.RecursiveGraphIterator(model.graph)]:
        if node.op_type == "Where" and node.domain == "" and node.outputs[0].dtype == ir.DataType.BOOL:
            _write(node)
            count += 1
    return count


def _write(node: ir.Node) -> None:
    """Put ``(condition and x) or (not condition and y)`` in the place of a node; the last keeps its name and output."""
    condition, x, y = node.inputs
    output, written = node.outputs[0], list[ir.Node]()

    def add(kind: str, ending: str, *read: ir.Value | None) -> ir.Value:
        new = ir.node(kind, read, name=f"{node.name}{ending}")
        new.metadata_props.update(node.metadata_props)
        made = new.outputs[0]
        made.name, made.type = f"{output.name}{ending}", ir.TensorType(ir.DataType.BOOL)
        written.append(new)
        return made

    chosen = add("And", "/chosen", condition, x)
    other = add("And", "/other", add("Not", "/not", condition), y)
    result = add("Or", "", chosen, other)
    result.shape = output.shape
    graph = node.graph
    assert graph is not None
    graph.insert_before(node, written)
    ir.convenience.replace_all_uses_with(output, result, replace_graph_outputs=True)
    graph.remove(node, safe=True)
