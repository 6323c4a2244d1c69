"""Products of maps with gates of their own, joined along the channels, as one product of joined maps and joined gates.

PSA multiplies each of four maps by a gate and joins the results: four elementwise kernels and a Concat. Joined first,
the maps can be written side by side by the convolutions that make them, and one kernel multiplies them all.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import Writer, alike, constant, sizes


class JoinedProducts:
    """Concat(x · g, y · h) as Concat(x, y) · Concat(g, h)."""

    name = "one product of joined maps"

    def kind(self, node: ir.Node) -> str:
        """Return one kind for every place; ``node`` is the Concat."""
        return "" if _operands(node) is None else "products that are joined"

    def apply(self, node: ir.Node) -> None:
        """Write in the node's place two Concat and a Mul."""
        found = _operands(node)
        assert found is not None
        write = Writer(node)
        maps = write.node("Concat", [one for one, _ in found], "maps", axis=1)
        gates = write.node("Concat", [gate for _, gate in found], "gates", axis=1)
        write.put(write.node("Mul", [maps, gates], "product"))


def _operands(node: ir.Node) -> list[tuple[ir.Value, ir.Value]] | None:
    """Return the map and the gate of each product that is joined; None if something else is joined, too."""
    if node.op_type != "Concat" or node.attributes.get_int("axis", 0) not in (1, -3) or len(node.inputs) < 2:
        return None
    found = [_map_and_gate(value) for value in node.inputs]
    pairs = [pair for pair in found if pair is not None]
    # one map or gate for all images beside others is not joined with them
    is_one = len(pairs) == len(found) and all(alike(values, 0) for values in zip(*pairs, strict=True))
    return pairs if is_one else None


def _map_and_gate(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    node = None if value is None or len(value.uses()) != 1 or value.is_graph_output() else value.producer()
    if node is None or node.op_type != "Mul":
        return None
    for one, gate in (tuple(node.inputs), tuple(reversed(node.inputs))):
        known, narrow = sizes(one, 4), sizes(gate, 4)
        if one is None or gate is None or known is None or narrow is None or constant(gate) is not None:
            continue
        if narrow[2:] == (1, 1) and known[1] is not None and known[1] == narrow[1] and known[2:] != (1, 1):
            return one, gate
    return None


TURN = 6
REWRITES = (JoinedProducts(),)
