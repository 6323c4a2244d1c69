"""A reduction over channels in two steps: over the channels of each of four groups, then over the groups.

CBAM's and BAM's spatial gates take the maximum and the mean over all channels of every pixel. ONNX Runtime's kernel
shares that work out among threads by image, so that one image keeps one thread, and runs over a whole map for every
channel, which no first-level cache holds. In groups there is work for every thread. Means of groups of one size are
exact, too. Does not apply if the channels are not a multiple of four, or their number varies.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .rewrite import Matched, Writer, constant, sizes

REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
GROUPS = 4
FEWEST = 16  # channels; below, two steps cost more than they share out


class SplitReduction(Matched[tuple[int, int | None, int | None]]):
    """Reduce(x, channels) as Reduce(Reduce(x, channels of a group), groups)."""

    name = "reduce channels in groups"

    def match(self, node: ir.Node) -> tuple[int, int | None, int | None] | None:
        """Return the channels, the height and the width of the map."""
        if node.op_type not in REDUCTIONS or reduced_axes(node) != (1,):
            return None
        found = sizes(node.inputs[0], 4)
        if found is None or found[1] is None or found[1] < FEWEST or found[1] % GROUPS:
            return None
        return found[1], found[2], found[3]

    def kind_of(self, node: ir.Node, found: tuple[int, int | None, int | None]) -> str:
        """Return the kind by operator and number of channels."""
        return f"{node.op_type} over {found[0]} channels"

    def write(self, write: Writer, node: ir.Node, found: tuple[int, int | None, int | None]) -> ir.Value:
        """Write a view in groups, and two reductions."""
        given, (channels, height, width) = node.inputs[0], found
        # 0 stands for the size that is there, -1 for the one that is left
        head = [0, GROUPS, channels // GROUPS]
        if height is None and width is None:
            start = write.weight(np.array(head, np.int64), "groups")
            rest = write.integers("Shape", [given], "height and width", start=2)
            view = write.integers("Concat", [start, rest], "shape in groups", axis=0)
        else:
            view = write.weight(
                np.array([*head, *(-1 if size is None else size for size in (height, width))]), "groups"
            )
        grouped = write.node("Reshape", [given, view], "in groups")
        within = _reduce(write, node, grouped, 2, keep=0, word="of each group")
        keep = node.attributes.get_int("keepdims", 1)
        return _reduce(write, node, within, 1, keep=keep, word="of all groups")


def _reduce(write: Writer, node: ir.Node, value: ir.Value, axis: int, *, keep: int, word: str) -> ir.Value:
    """Return the node's reduction over another axis, given as an attribute or an input as the node has it."""
    if "axes" in node.attributes:
        return write.node(node.op_type, [value], word, axes=[axis], keepdims=keep)
    axes = write.weight(np.array([axis], np.int64), f"axis {word}")
    return write.node(node.op_type, [value, axes], word, keepdims=keep)


def reduced_axes(node: ir.Node) -> tuple[int, ...]:
    """The axes of a map that a reduction is over, counted from the first; none if they are computed or all."""
    if "axes" in node.attributes:
        found = tuple(node.attributes["axes"].as_ints())
    else:
        numbers = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        found = () if numbers is None else tuple(int(number) for number in numbers.ravel())
    return tuple(axis + 4 if axis < 0 else axis for axis in found)


TURN = 1
REWRITES = (SplitReduction(),)
