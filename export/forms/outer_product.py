"""Two gates, one along the height and one along the width, multiplied with each other before the map.

Coordinate attention multiplies its map by a gate for every row, then by one for every column: two passes over the
map, each of which ONNX Runtime broadcasts row by row. The product of the gates is a matrix product of one term, a
dense map, and what is left is one multiplication without broadcasting. Does not apply where something else reads the
map between the two.
"""

from __future__ import annotations

import onnx_ir as ir

from .form import Writer, sizes


class OuterProduct:
    """(x · rows) · columns as x · (rows ⊗ columns)."""

    name = "multiply row and column gates first"

    def kind(self, node: ir.Node) -> str:
        """By number of channels."""
        found = _parts(node)
        if found is None:
            return ""
        channels = (sizes(found[0], 4) or ())[1]
        return f"row and column gates of {channels or 'any number of'} channels"

    def rewrite(self, node: ir.Node) -> None:
        """In the node's place: the gates' product, and one with the map."""
        found = _parts(node)
        assert found is not None
        given, rows, columns = found
        write = Writer(node)
        gates = write.node("MatMul", [rows, columns], "gates")
        write.put(write.node("Mul", [given, gates], "gated"))


def _parts(node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value] | None:
    """The map, the gate of each row and that of each column; None where this is something else.

    Whatever the other sizes are, a matrix product over an axis of one broadcasts as the two products do.
    """
    if node.op_type != "Mul":
        return None
    for between, last in (tuple(node.inputs), tuple(reversed(node.inputs))):
        product = None if between is None else between.producer()
        if product is None or product.op_type != "Mul" or between is None or last is None:
            continue
        if len(between.uses()) != 1 or between.is_graph_output():
            continue
        for given, first in (tuple(product.inputs), tuple(reversed(product.inputs))):
            if given is None or first is None or not _is_map(given):
                continue
            if _is_row_gate(first) and _is_column_gate(last):
                return given, first, last
            if _is_column_gate(first) and _is_row_gate(last):
                return given, last, first
    return None


def _is_map(value: ir.Value) -> bool:
    found = sizes(value, 4)
    return found is not None and found[2] != 1 and found[3] != 1


def _is_row_gate(value: ir.Value) -> bool:
    found = sizes(value, 4)
    return found is not None and found[3] == 1 and found[2] != 1


def _is_column_gate(value: ir.Value) -> bool:
    found = sizes(value, 4)
    return found is not None and found[2] == 1 and found[3] != 1
