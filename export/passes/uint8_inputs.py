"""Cast uint8 inputs to float32 before anything moves them: TensorRT reads uint8 in a Cast alone.

A preprocessing that permutes first and casts then is exact either way, since moving a number does not change it. Nor
does it matter which of the two is asked for its sizes.
"""

from __future__ import annotations

import onnx_ir as ir

# Operators that give the numbers of their first input, elsewhere.
MOVES = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Identity", "Expand"})
# Operators that give the same of a number of either type.
SAME = frozenset({"Cast", "Shape", "Size"})
NAME = "cast_uint8_{}"


class CastUint8Inputs:
    """Rewrite a model in place: each uint8 input that is moved before it is cast is cast at once."""

    def __call__(self, model: ir.Model) -> bool:
        """Return True if anything was changed."""
        changed = False
        for value in model.graph.inputs:
            moved = [use.node for use in value.uses() if use.node.op_type != "Cast"]
            if value.dtype == ir.DataType.UINT8 and moved and _ends_in_casts(value):
                _cast(model.graph, value)
                changed = True
        return changed


def _ends_in_casts(value: ir.Value) -> bool:
    """Return True if ``value`` is only moved, then cast or asked for sizes, and no output of the graph on the way."""
    return not value.is_graph_output() and all(
        use.node.op_type in SAME or (use.node.op_type in MOVES and use.idx == 0 and _ends_in_casts(use.node.outputs[0]))
        for use in value.uses()
    )


def _cast(graph: ir.Graph, value: ir.Value) -> None:
    uses = list(value.uses())
    order = list(graph)
    first = min((use.node for use in uses), key=order.index)
    node = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=NAME.format(value.name))
    cast = node.outputs[0]
    cast.name, cast.shape, cast.type = f"{value.name}_float", value.shape, ir.TensorType(ir.DataType.FLOAT)
    node.metadata_props.update(first.metadata_props)
    for use in uses:
        use.node.replace_input_with(use.idx, cast)
    graph.insert_before(first, node)
    _retype(cast)


def _retype(value: ir.Value) -> None:
    for use in value.uses():
        if use.node.op_type not in SAME:
            moved = use.node.outputs[0]
            moved.type = ir.TensorType(ir.DataType.FLOAT)
            _retype(moved)
