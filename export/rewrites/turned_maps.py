"""Maps whose height and width are exchanged and, behind operators that see single pixels, exchanged back.

Coordinate attention turns its column means to rows and back, which for such operators changes nothing. An exporter
writes a Transpose or, since one of the two axes has a single element, a Reshape. Does not apply if something in
between reads neighbours, or is read by something else.
"""

from __future__ import annotations

import onnx_ir as ir

from .axis_sizes import HEIGHT, OTHER, WIDTH, turned
from .positions import Pointwise, pointwise
from .rewrite import Matched, Writer, constant, sizes


class UnturnedMaps(Matched[Pointwise]):
    """Turn, operators on pixels, turn, as the operators alone."""

    name = "operators on pixels without turning the map"

    def match(self, node: ir.Node) -> Pointwise | None:
        """Return the operators that end in a turn back."""
        return turned_between(node)

    def kind_of(self, node: ir.Node, found: Pointwise) -> str:
        """Return the kind by channels."""
        return f"turned map, {channels(found.begins[0])} to {channels(found.end)} channels"

    def write(self, write: Writer, node: ir.Node, found: Pointwise) -> ir.Value:
        """Write the operators on the maps as they were."""
        before = [_unturned(write, value, f"unturned {number}") for number, value in enumerate(found.begins)]
        return found.copied(write, before, "unturned")


def turned_between(node: ir.Node) -> Pointwise | None:
    """Return the operators between a turn back and the turns before them; None for any other node."""
    given = turned(node)
    if given is None or given.is_graph_output() or len(given.uses()) != 1:
        return None
    return pointwise(given, (HEIGHT, WIDTH), _is_turned)


def channels(value: ir.Value) -> int | str:
    """Return the number of channels, for the name of a kind."""
    size = None if value.shape is None or len(value.shape) < 2 else value.shape[1]
    return size if isinstance(size, int) else "any number of"


def _is_turned(value: ir.Value) -> bool:
    """Return True for a map that can be had the other way round at no cost."""
    node = value.producer()
    return node is not None and (turned(node) is not None or _axis_that_came(node) is not None)


def _unturned(write: Writer, value: ir.Value, word: str) -> ir.Value:
    """Return such a map the other way round."""
    node = value.producer()
    assert node is not None
    given = turned(node)
    if given is not None:
        return given
    axis = _axis_that_came(node)
    assert axis is not None
    unturned = write.node("Unsqueeze", [node.inputs[0], write.number(OTHER[axis], f"axis of {word}")], word)
    unturned.type = value.type
    return unturned


def _axis_that_came(node: ir.Node) -> int | None:
    """Return the axis, height or width, that an Unsqueeze gives to three others; None for any other node."""
    axes = constant(node.inputs[1]) if node.op_type == "Unsqueeze" and sizes(node.inputs[0], 3) is not None else None
    if axes is None or axes.size != 1:
        return None
    axis = int(axes.ravel()[0]) % 4
    return axis if axis in OTHER else None


TURN = 1
REWRITES = (UnturnedMaps(),)
