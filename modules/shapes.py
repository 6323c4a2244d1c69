"""Input shapes and dynamic axes, from their text to TensorSpec and Axis."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from .block_index import nearest
from .target import FLOAT_DTYPES, INTEGER_DTYPES, Axis, Dim, TensorSpec

IMAGE_AXES = {0: "batch", 2: "height", 3: "width"}
_SHAPE = re.compile(
    r"(?:(?P<name>[^=]+)=)?(?P<sizes>\d+(?:x\d+)*)(?::(?P<dtype>\w+)(?:\[(?P<low>{n}),(?P<high>{n})\])?)?".replace(
        "{n}", r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
    )
)
Ranges = Mapping[str, "Axis | Sequence[int] | None"]


@dataclass(frozen=True)
class Shape:
    """One input at its traced sizes. ``low`` and ``high`` bound its values, both included, if they are given."""

    name: str
    sizes: tuple[int, ...]
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None


def parse_shape(text: str) -> Shape:
    """``2x3x224x224``, ``ids=2x16:int64[0,999]`` or ``size=2:float32[1,9]``; the name is empty if none is given."""
    found = _SHAPE.fullmatch(text.strip())
    if not found:
        raise InputError(
            f"received shape {text!r}; expected sizes joined by x, as 2x3x224x224, mask=2x16, ids=2x16:int64[0,999] or "
            "size=2:float32[1,9]; correct --shape"
        )
    sizes = tuple(int(size) for size in found["sizes"].split("x"))
    if min(sizes) < 1:
        raise InputError(f"received shape {text!r} with a size of 0; expected sizes of 1 or more; correct --shape")
    dtype = found["dtype"] or "float32"
    if dtype not in FLOAT_DTYPES + INTEGER_DTYPES:
        raise InputError(
            f"received dtype {dtype!r} in shape {text!r}; expected one of {', '.join(FLOAT_DTYPES + INTEGER_DTYPES)}; "
            f"{nearest(dtype, FLOAT_DTYPES + INTEGER_DTYPES, 'correct --shape')}"
        )
    return Shape((found["name"] or "").strip(), sizes, dtype, *_range(text, dtype, found["low"], found["high"]))


def _range(text: str, dtype: str, low: str | None, high: str | None) -> tuple[float | None, float | None]:
    """Return the bounds of an input's values; raises InputError for those that the dtype cannot have."""
    if low is None or high is None:
        return None, None
    is_float = dtype in FLOAT_DTYPES
    try:
        found: tuple[float, float] = (float(low), float(high)) if is_float else (int(low), int(high))
    except ValueError:
        found = (1, 0)
    if found[0] > found[1] or dtype == "bool":
        expected = "numbers" if is_float else "whole numbers"
        raise InputError(
            f"received range [{low},{high}] for {dtype} in shape {text!r}; expected {expected} with low <= high, "
            "and none for bool; correct --shape"
        )
    return found


def parse_dynamic(dynamic: str | Ranges | None) -> dict[str, Axis | None]:
    """``batch=1:2:8,height`` or a mapping, to a range per axis; None leaves the range to ``plan``."""
    if not dynamic:
        return {}
    if isinstance(dynamic, str):
        ranges: dict[str, Axis | None] = {}
        for item in dynamic.split(","):
            name, equals, text = (part.strip() for part in item.partition("="))
            if not name or name in ranges or (equals and not re.fullmatch(r"\d+:\d+:\d+", text)):
                raise InputError(
                    f"received {item!r} in dynamic {dynamic!r}; expected NAME=min:opt:max or NAME, each axis once; "
                    "write it as batch=1:2:8,height=16:32:64"
                )
            ranges[name] = _axis(name, [int(size) for size in text.split(":")]) if equals else None
        return ranges
    return {name: _axis(name, value) for name, value in dynamic.items()}


def plan(
    shapes: Sequence[Shape], dynamic: str | Ranges | None, *, fixed: bool
) -> tuple[tuple[TensorSpec, ...], dict[str, Axis]]:
    """The inputs with their symbolic dimensions, and the axes.

    ``fixed`` says that the sizes were given on purpose: an optimum must then equal them; otherwise it replaces them.
    A bare axis name takes 1 : traced : 8 x traced for a batch and half : traced : double for a size; a batch traced
    at 1 is traced at 2, since the exporter takes a 1 for a constant.
    """
    positions = _positions(shapes)
    sizes: list[list[int]] = [list(shape.sizes) for shape in shapes]
    dims: list[list[Dim]] = [list(shape.sizes) for shape in shapes]
    axes: dict[str, Axis] = {}
    for name, given in parse_dynamic(dynamic).items():
        if name not in positions:
            raise InputError(
                f"received dynamic axis {name!r}; expected {' or '.join(positions)}; "
                f"{nearest(name, positions, 'name one of them')}"
            )
        index, dim = positions[name][0]
        traced = shapes[index].sizes[dim]
        axis = _default(name, dim, traced) if given is None else given
        _check(name, axis, traced, fixed=fixed and given is not None)
        for index, dim in positions[name]:
            if not isinstance(dims[index][dim], int):
                raise InputError(
                    f"received dynamic axes {dims[index][dim]} and {name} for the same dimension of input "
                    f"{shapes[index].name!r}; expected each dimension once; leave one of them out"
                )
            sizes[index][dim] = axis.opt
            dims[index][dim] = name if axis.min < axis.max else axis.opt
        if axis.min < axis.max:
            axes[name] = axis
    specs = tuple(
        TensorSpec(shape.name, tuple(dims[index]), shape.dtype, shape.low, shape.high)
        for index, shape in enumerate(shapes)
    )
    return specs, axes


def named(shapes: Sequence[Shape], names: Sequence[str]) -> list[Shape]:
    """The shapes in the order of ``names`` (a forward's parameters), each with its name.

    A single shape may leave its name out. InputError where a name is unknown, given twice or skipped.
    """
    if len(shapes) == 1 and not shapes[0].name and names:
        return [replace(shapes[0], name=names[0])]
    by_name: dict[str, Shape] = {}
    for shape in shapes:
        if shape.name not in names or shape.name in by_name:
            received = f"the name {shape.name!r}" if shape.name else "no name"
            raise InputError(
                f"received a shape with {received}; expected one NAME=SIZES for each input, of {', '.join(names)}; "
                f"{nearest(shape.name, names, 'correct --shape')}"
            )
        by_name[shape.name] = shape
    last = max(names.index(name) for name in by_name)
    skipped = [name for name in names[:last] if name not in by_name]
    if skipped:
        raise InputError(
            f"received no shape for input {skipped[0]!r}; expected one for every input up to {names[last]!r}; "
            f"add --shape {skipped[0]}=SIZES"
        )
    return [by_name[name] for name in names if name in by_name]


def _axis(name: str, value: Axis | Sequence[int] | None) -> Axis | None:
    if value is None or isinstance(value, Axis):
        return value
    try:
        low, opt, high = (int(size) for size in value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"received {value!r} for dynamic axis {name!r}; expected (min, opt, max); write it as (1, 2, 8)"
        ) from error
    try:
        return Axis(low, opt, high)
    except InputError as error:
        raise InputError(f"received dynamic axis {name!r}: {str(error).removeprefix('received ')}") from error


def _default(name: str, dim: int, traced: int) -> Axis:
    if dim == 0:
        traced = max(2, traced)
        return Axis(1, traced, 8 * traced)
    return Axis(max(1, traced // 2), traced, 2 * traced)


def _check(name: str, axis: Axis, traced: int, *, fixed: bool) -> None:
    if fixed and axis.opt != traced:
        raise InputError(
            f"received dynamic {name}={axis} with a shape of {name} {traced}; expected the optimum to be the traced "
            f"size; write {name}={min(axis.min, traced)}:{traced}:{max(axis.max, traced)} or change --shape"
        )
    if axis.opt == 1 and axis.max > 1:
        raise InputError(
            f"received dynamic {name}={axis}, traced at 1; expected an optimum of 2 or more, since a 1 is exported as "
            f"a constant; write {name}={axis.min}:2:{max(2, axis.max)}"
        )


def _positions(shapes: Sequence[Shape]) -> dict[str, list[tuple[int, int]]]:
    """Every name that an axis may be called by, and the (input, dimension) pairs that it stands for."""
    found: dict[str, list[tuple[int, int]]] = {}
    images = [index for index, shape in enumerate(shapes) if len(shape.sizes) == 4]
    first = images[0] if images else 0
    batch = shapes[first].sizes[0] if shapes else 0
    found["batch"] = [(index, 0) for index, shape in enumerate(shapes) if shape.sizes[0] == batch]
    for dim in (2, 3):
        if images and len({shapes[index].sizes[dim] for index in images}) == 1:
            found[IMAGE_AXES[dim]] = [(index, dim) for index in images]
    for index, shape in enumerate(shapes):
        names = IMAGE_AXES if len(shape.sizes) == 4 else {dim: f"dim{dim}" for dim in range(len(shape.sizes))}
        for dim, name in names.items():
            if len(shapes) > 1:
                found[f"{shape.name}.{name}"] = [(index, dim)]
            elif name not in found:
                found[name] = [(index, dim)]
    return found
