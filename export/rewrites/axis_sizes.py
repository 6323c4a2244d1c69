"""Sizes of tensors, and whole numbers that a graph makes of them, as sums of a number and of names of axes.

Two sizes are the same for every input if their sums are. A name stands for one size wherever the graph has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import onnx_ir as ir

from .rewrite import constant, sizes

HEIGHT, WIDTH = 2, 3
OTHER = {HEIGHT: WIDTH, WIDTH: HEIGHT}
ONE = ""  # the name of what is a number
Size = dict[str, int]  # how often each name
Sizes = Sequence[Size | None]  # None for one that is not known
INTEGERS = frozenset({ir.DataType.INT32, ir.DataType.INT64})


def number(value: int) -> Size:
    """Return the sum that is a number."""
    return {ONE: value} if value else {}


def plus(one: Size, other: Size, times: int = 1) -> Size:
    """Return ``one + times * other``."""
    total = Counter(one)
    for name, count in other.items():
        total[name] += times * count
    return {name: count for name, count in total.items() if count}


def size_along(value: ir.Value | None, axis: int) -> Size | None:
    """Return the size of a tensor along an axis, counted from the first; None if nothing is known of it.

    Shape inference has a new name for what is left to a Reshape, so that a map that it turns is asked first.
    """
    if value is None or value.shape is None or not 0 <= axis < len(value.shape):
        return None
    size = value.shape[axis]
    if isinstance(size, int):
        return number(size)
    node = value.producer()
    before = None if node is None else turned(node)
    if before is not None:
        return size_along(before, OTHER.get(axis, axis))
    return None if size.value is None else {size.value: 1}


def turned(node: ir.Node) -> ir.Value | None:
    """Return the map (n, c, h, w) that a node makes (n, c, w, h) of; None for any other node.

    That is a Transpose or, if height or width is 1, a Reshape.
    """
    given = node.inputs[0] if node.inputs else None
    if given is None or sizes(given, 4) is None or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Transpose":
        return given if list(node.attributes.get_ints("perm", ())) == [0, 1, WIDTH, HEIGHT] else None
    return given if node.op_type == "Reshape" and _asks_for_turn(node, given) else None


def _asks_for_turn(reshape: ir.Node, given: ir.Value) -> bool:
    """Return True if the sizes asked for are those of the map turned: all but one are, and the elements as many."""
    target, known = _numbers(reshape.inputs[1]), [size_along(given, axis) for axis in range(4)]
    if target is None or len(target) != 4 or number(1) not in known[HEIGHT:]:
        return False
    copies_zeros = reshape.attributes.get_int("allowzero", 0) == 0
    same = 0
    for axis, size in enumerate(target):
        wanted = known[OTHER.get(axis, axis)]
        is_copied = copies_zeros and size == number(0) and axis < HEIGHT
        same += is_copied or (size is not None and size == wanted)
    return same >= 3


def whole_numbers(value: ir.Value | None) -> list[Size] | None:
    """Return the whole numbers of a tensor in their order; None if one of them is neither constant nor a size."""
    found = _numbers(value)
    known = [] if found is None else [size for size in found if size is not None]
    return None if found is None or len(known) < len(found) else known


def _numbers(value: ir.Value | None) -> Sizes | None:
    known = constant(value)
    if known is not None:
        return [number(int(one)) for one in known.ravel()] if known.dtype.kind in "iu" else None
    node = None if value is None else value.producer()
    if value is None or value.dtype not in INTEGERS or node is None or node.domain not in ("", "ai.onnx"):
        return None
    found = OPERATORS.get(node.op_type)
    return None if found is None else found(node)


def _of_shape(node: ir.Node) -> Sizes | None:
    given = node.inputs[0]
    if given is None or given.shape is None:
        return None
    axes = range(len(given.shape))
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(axes))
    return [size_along(given, axis) for axis in axes[start:end]]


def _of_sum(node: ir.Node) -> Sizes | None:
    one, other = (_numbers(value) for value in node.inputs)
    if one is None or other is None or 1 not in (len(one), len(other)):
        return None
    times = 1 if node.op_type == "Add" else -1
    return [None if a is None or b is None else plus(a, b, times) for a in one for b in other]


def _joined(node: ir.Node) -> Sizes | None:
    parts = [_numbers(one) for one in node.inputs]
    return None if None in parts else [size for part in parts if part is not None for size in part]


def _taken(node: ir.Node) -> Sizes | None:
    """Return what a Gather or a Slice with constants takes of a list."""
    given, *others = node.inputs
    listed = None if given is None or given.shape is None or len(given.shape) != 1 else _numbers(given)
    constants = [None if (known := constant(one)) is None else known.ravel().tolist() for one in others]
    numbers = [one for one in constants if one]
    if listed is None or len(numbers) < len(others):
        return None
    if node.op_type == "Gather":
        places = range(-len(listed), len(listed))
        return [listed[index] for index in numbers[0]] if all(index in places for index in numbers[0]) else None
    start, end, step = numbers[0], numbers[1], numbers[3] if len(numbers) > 3 else [1]
    return listed[start[0] : end[0] : step[0]] if len(start) == 1 and step[0] > 0 else None


def _as_it_is(node: ir.Node) -> Sizes | None:
    return _numbers(node.inputs[0])


OPERATORS: dict[str, Callable[[ir.Node], Sizes | None]] = {
    **dict.fromkeys(("Add", "Sub"), _of_sum),
    **dict.fromkeys(("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"), _as_it_is),
    **dict.fromkeys(("Gather", "Slice"), _taken),
    "Concat": _joined,
    "Shape": _of_shape,
}
