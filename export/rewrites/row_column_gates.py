"""Two gates, one along the height and one along the width, multiplied with each other before the map.

Coordinate attention multiplies its map by a gate for every row, then by one for every column: two passes over the
map, each of which ONNX Runtime broadcasts row by row. The product of the gates is a dense map, and what is left is one
multiplication without broadcasting. Three ways to make it: a matrix product of one term, a product that broadcasts both
gates, the faster one for rows that are long, and both gates enlarged to the map by repeating them, which ONNX Runtime
does in blocks of channels if the gates come from convolutions. None applies if something else reads the map between the
two multiplications.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from .rewrite import Matched, Writer, sizes

Gates = tuple[ir.Value, ir.Value, ir.Value]  # the map, the gate of each row and that of each column


class OuterProduct(Matched[Gates]):
    """(x · rows) · columns as x · (rows ⊗ columns)."""

    name = "multiply row and column gates first"
    _operator = "MatMul"

    def match(self, node: ir.Node) -> Gates | None:
        """Return the map and its gates; None for any other node.

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

    def kind_of(self, node: ir.Node, found: Gates) -> str:
        """Return the kind by number of channels."""
        return f"row and column gates of {(sizes(found[0], 4) or ())[1] or 'any number of'} channels"

    def write(self, write: Writer, node: ir.Node, found: Gates) -> ir.Value:
        """Write the gates' product, and one with the map."""
        return write.node("Mul", [found[0], self._product(write, *found)], "gated")

    def _product(self, write: Writer, given: ir.Value, rows: ir.Value, columns: ir.Value) -> ir.Value:
        return write.node(self._operator, [rows, columns], "gates")


class BroadcastGates(OuterProduct):
    """Row and column gates multiplied first, each broadcast along the axis of the other."""

    name = "multiply row and column gates first, by broadcasting"
    _operator = "Mul"


class EnlargedGates(OuterProduct):
    """Row and column gates multiplied first, each repeated along its row or column, without a matrix product.

    Does not apply to a map whose height or width may vary: ONNX Runtime repeats in blocks only what it knows.
    """

    name = "enlarge row and column gates first"

    def match(self, node: ir.Node) -> Gates | None:
        """Return a map of known height and width, and its gates."""
        found = super().match(node)
        return None if found is None or None in (sizes(found[0], 4) or ())[2:] else found

    def _product(self, write: Writer, given: ir.Value, rows: ir.Value, columns: ir.Value) -> ir.Value:
        height, width = (sizes(given, 4) or ())[2:]
        by_row = _enlarged(write, rows, (1, 1, 1, width), "rows")
        by_column = _enlarged(write, columns, (1, 1, height, 1), "columns")
        return write.node("Mul", [by_row, by_column], "gates")


def _enlarged(write: Writer, gate: ir.Value, times: Sequence[int | None], word: str) -> ir.Value:
    """Every number of the gate so many times along each axis, as it is."""
    scales = write.weight(np.array(times, np.float32), f"times {word}")
    exact = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    return write.node("Resize", [gate, None, scales], f"enlarged {word}", **exact)


def _is_map(value: ir.Value) -> bool:
    found = sizes(value, 4)
    return found is not None and found[2] != 1 and found[3] != 1


def _is_row_gate(value: ir.Value) -> bool:
    found = sizes(value, 4)
    return found is not None and found[3] == 1 and found[2] != 1


def _is_column_gate(value: ir.Value) -> bool:
    found = sizes(value, 4)
    return found is not None and found[2] == 1 and found[3] != 1


TURN = 3
REWRITES = (OuterProduct(), BroadcastGates(), EnlargedGates())
