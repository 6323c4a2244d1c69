"""Find what stays in float32 because of what reads it, in a graph that is lowered to half precision.

- A place among pixels, as those that a deformable convolution gathers: it is rounded to a whole number, or GridSample
  reads there. The distance of 100.4 from its pixel has no digits left in float16.
- What a recurrent layer reads, back to the operator that computed it: TensorRT for RTX 1.7 builds no LSTM or GRU of one
  direction right behind a cast.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ...core.operators import MOVES, named

PLACING = named("Add Sub Mul Div Neg Min Max Clip") | MOVES
ROUNDING = named("Floor Ceil Round")
RECURRENT = named("LSTM GRU RNN")
PLACE, SEQUENCE = "gives a place among pixels", "is read by a recurrent layer"


def wanted_in_float32(nodes: Sequence[ir.Node]) -> dict[ir.Node, str]:
    """Return the nodes whose readers want them in float32, with the reason; ``nodes`` are sorted."""
    found: dict[ir.Node, str] = {}
    for node in reversed(nodes):
        uses = [use for value in node.outputs for use in value.uses()]
        if node.op_type in ROUNDING or (
            node.op_type in PLACING and any(found.get(user) == PLACE or _is_at_place(user, at) for user, at in uses)
        ):
            found[node] = PLACE
        elif any(
            _is_sequence(user, at) or (user.op_type in MOVES and found.get(user) == SEQUENCE) for user, at in uses
        ):
            found[node] = SEQUENCE
    return found


def _is_at_place(user: ir.Node, index: int) -> bool:
    if user.op_type == "Cast":
        return ir.DataType(user.attributes["to"].as_int()).is_integer()
    return user.op_type == "GridSample" and index == 1


def _is_sequence(user: ir.Node, index: int) -> bool:
    return user.op_type in RECURRENT and index == 0
