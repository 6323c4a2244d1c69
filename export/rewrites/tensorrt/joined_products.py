"""Products of maps with gates of their own, joined along the channels, as one product of joined maps and joined gates.

PSA multiplies each of four maps by a gate and joins the results: four elementwise kernels and a Concat. Joined first,
the maps can be written side by side by the convolutions that make them, and one kernel multiplies them all.
"""

from __future__ import annotations

import onnx_ir as ir

from ..rewrite import Matched, Writer, alike, constant, sizes

Product = tuple[ir.Value, ir.Value]  # a map and its gate


class JoinedProducts(Matched[list[Product]]):
    """Concat(x · g, y · h) as Concat(x, y) · Concat(g, h)."""

    name = "one product of joined maps"
    place = "products that are joined"

    def match(self, node: ir.Node) -> list[Product] | None:
        """Return the products that a Concat joins; None if it joins something else, too."""
        if node.op_type != "Concat" or node.attributes.get_int("axis", 0) not in (1, -3) or len(node.inputs) < 2:
            return None
        found = [_map_and_gate(value) for value in node.inputs]
        pairs = [pair for pair in found if pair is not None]
        # one map or gate for all images beside others is not joined with them
        is_one = len(pairs) == len(found) and all(alike(values, 0) for values in zip(*pairs, strict=True))
        return pairs if is_one else None

    def write(self, write: Writer, node: ir.Node, found: list[Product]) -> ir.Value:
        """Write two Concat and a Mul."""
        maps = write.node("Concat", [one for one, _ in found], "maps", axis=1)
        gates = write.node("Concat", [gate for _, gate in found], "gates", axis=1)
        return write.node("Mul", [maps, gates], "product")


def _map_and_gate(value: ir.Value | None) -> Product | None:
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
