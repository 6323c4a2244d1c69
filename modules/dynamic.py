"""Dynamic axes, from their text to the ranges and symbolic dimensions of a target."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType

from ..core.arguments import require_kind
from ..core.dimension import Dim, is_name, multiples, names_in, size_of, substituted
from ..core.tensor_spec import Axis, TensorSpec
from ..errors import InputError
from .axis_places import AxisPlaces, looks_like_channels
from .shapes import Shape

# What an axis may be given: a range, an expression of other axes, or None for a range of the tool's choice.
Given = Axis | str | None
Ranges = Mapping[str, "Axis | Sequence[int] | str | None"]
_RANGE = re.compile(r"\d+:\d+:\d+(?::\d+)?")
NONE = "none"
EXAMPLE = "batch=1:2:8,height=32:64:128:32,mask.dim1=x.dim0"


def parse_dynamic(dynamic: str | Ranges | None) -> dict[str, Given]:
    """``batch=1:2:8,height,b.height=a.height/2`` or a mapping, as what each axis is given.

    An axis that is given "none" stays at its traced size, and so do all of them if ``dynamic`` is "none". Raises
    InputError for a range that contradicts itself, and an axis that is there twice.
    """
    require_kind(dynamic, (str, Mapping, NoneType), "dynamic", '"batch=1:2:8,height" or {"batch": (1, 2, 8)}')
    if not dynamic or dynamic == NONE:
        return {}
    if not isinstance(dynamic, str):
        return {name: _given(name, value) for name, value in dynamic.items() if value != NONE}
    found: dict[str, Given] = {}
    for item in dynamic.split(","):
        name, equals, text = (part.strip() for part in item.partition("="))
        if (
            not name
            or ":" in name
            or name in found
            or (equals and not text)
            or (":" in text and not _RANGE.fullmatch(text))
        ):
            raise InputError(
                f"received {item!r} in dynamic {dynamic!r}; expected NAME=min:opt:max, NAME=min:opt:max:step, "
                f"NAME=OTHER or NAME, each axis once; write it as {EXAMPLE}"
            )
        found[name] = _given(name, text or None)
    return {name: given for name, given in found.items() if given != NONE}


def plan(
    shapes: Sequence[Shape], dynamic: str | Ranges | None, *, fixed: bool
) -> tuple[tuple[TensorSpec, ...], dict[str, Axis]]:
    """Return the inputs with their symbolic dimensions, and the axes that vary freely.

    A bare axis name takes 1 : traced : 8 x traced for a batch and half : traced : double for a size. An axis of 1 that
    varies is traced at its optimum, 2 for a bare batch, since the exporter takes a 1 for a constant. A dimension that
    is tied to other axes becomes an expression of them, and they become multiples of what the expression divides them
    by.

    Args:
        shapes: The inputs at their traced sizes.
        dynamic: What varies, as ``parse_dynamic`` takes it.
        fixed: The sizes were given on purpose: an optimum must equal them, but for a 1. Otherwise it replaces them.
    """
    return _Planner(shapes, AxisPlaces(shapes), parse_dynamic(dynamic), fixed).plan()


def ranges_of(inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> dict[str, Given]:
    """Return what ``plan`` makes these inputs and axes of."""
    ties = {
        f"{spec.name}.dim{place}": str(dim)
        for spec in inputs
        for place, dim in enumerate(spec.shape)
        if isinstance(dim, str) and dim not in axes
    }
    return {**axes, **ties}


@dataclass
class _Planner:
    shapes: Sequence[Shape]
    places: AxisPlaces
    given: Mapping[str, Given]
    fixed: bool

    def __post_init__(self) -> None:
        self.dims: list[list[Dim]] = [list(shape.sizes) for shape in self.shapes]
        self.owners: dict[tuple[int, int], str] = {}

    def plan(self) -> tuple[tuple[TensorSpec, ...], dict[str, Axis]]:
        """Ranges first, then what is tied to them."""
        ranges = {key: value for key, value in self.given.items() if not isinstance(value, str)}
        ties = {key: value for key, value in self.given.items() if isinstance(value, str)}
        for key in self.given:
            self._own(key)
        expressions = self._expressions(ties)
        steps: dict[str, int] = {}
        for expression in expressions.values():
            for divided, step in multiples(expression).items():
                steps[divided] = math.lcm(steps.get(divided, 1), step)
        axes = {name: self._axis(name, value, steps.get(name, 1)) for name, value in ranges.items()}
        for name, axis in axes.items():
            self._place(name, name if axis.min < axis.max else axis.opt)
        varying = {name: axis for name, axis in axes.items() if axis.min < axis.max}
        fixed = {name: axis.opt for name, axis in axes.items() if name not in varying}
        for tied, expression in expressions.items():
            self._check_tie(tied, expression, axes)
            is_constant = {*names_in(expression)} <= {*fixed}
            numbers = {name: str(size) for name, size in fixed.items()}
            self._place(tied, size_of(expression, fixed) if is_constant else substituted(expression, numbers))
        specs = self._specs()
        for name, axis in axes.items():
            self._check_traced(name, axis, specs, axes)
        return specs, varying

    def _own(self, name: str) -> None:
        """Note which axis each dimension has; no dimension may have two."""
        if not is_name(name):
            raise InputError(
                f"received dynamic axis {name!r}; expected letters, digits, _ and . in it; write it as "
                "batch=1:2:8,height=32:64:128, or give the input another name"
            )
        for place in self.places[name]:
            if place in self.owners:
                raise InputError(
                    f"received dynamic axes {self.owners[place]} and {name} for the same dimension of input "
                    f"{self.shapes[place[0]].name!r}; expected each dimension once; leave one of them out"
                )
            self.owners[place] = name

    def _place(self, name: str, dim: Dim) -> None:
        for index, place in self.places[name]:
            self.dims[index][place] = dim

    def _expressions(self, ties: Mapping[str, str]) -> dict[str, str]:
        """Every tie over axes that have a range."""
        found: dict[str, str] = {}
        waiting = dict(ties)
        while waiting:
            ready = {
                name: text
                for name, text in waiting.items()
                if not any(self._owner(axis, name, text) in waiting for axis in names_in(text))
            }
            if not ready:
                name, text = next(iter(waiting.items()))
                raise InputError(
                    f"received {name}={text} in dynamic, which is tied to itself; expected an axis with a range; write "
                    f"{name}=min:opt:max"
                )
            for name, text in ready.items():
                if not names_in(text):
                    raise InputError(
                        f"received {name}={text} in dynamic, which names no axis; expected min:opt:max, or an "
                        f"expression of other axes; write it as {EXAMPLE}, or leave {name} out if it does not vary"
                    )
                owners = {axis: self._owner(axis, name, text) for axis in names_in(text)}
                found[name] = substituted(text, {axis: found.get(owner, owner) for axis, owner in owners.items()})
                del waiting[name]
        return found

    def _owner(self, axis: str, name: str, text: str) -> str:
        """The axis whose range holds for the dimensions that are called ``axis``."""
        if axis not in self.places:
            raise InputError(
                f"received {name}={text} in dynamic, and {axis!r} is no axis; expected min:opt:max, or an expression "
                f"of other axes; write it as {EXAMPLE}"
            )
        owner = self.owners.get(self.places[axis][0])
        if owner is None:
            raise InputError(
                f"received {name}={text} in dynamic without a range for {axis}; expected one; add {axis}=min:opt:max"
            )
        return owner

    def _axis(self, name: str, given: Axis | None, step: int) -> Axis:
        index, dim = self.places[name][0]
        traced = self.shapes[index].sizes[dim]
        if given is None:
            return _default(dim, traced, step)
        step = math.lcm(step, given.multiple)
        sizes = (given.min, given.opt, given.max)
        return _stepped(name, sizes, step, " which a tie divides" if step != given.multiple else "")

    def _check_tie(self, name: str, expression: str, axes: Mapping[str, Axis]) -> None:
        """Raise InputError unless the tied size is the shape's, two or more if traced, and one or more at the ends."""
        sizes = {
            end: {axis: getattr(axes[axis], end) for axis in names_in(expression)} for end in ("opt", "min", "max")
        }
        opt, low, high = (size_of(expression, found) for found in sizes.values())
        index, dim = self.places[name][0]
        traced = self.shapes[index].sizes[dim]
        at = ", ".join(f"{axis} {size}" for axis, size in sizes["opt"].items())
        if self.fixed and opt != traced:
            raise InputError(
                f"received {name}={expression} in dynamic with a shape of {name} {traced} and {at}; expected {opt}; "
                "correct --shape or the expression"
            )
        if min(low, high) < 1 or (opt == 1 and max(low, high) > 1):
            raise InputError(
                f"received {name}={expression} in dynamic, which is {min(low, opt, high)} at the "
                f"{'traced' if opt == 1 else 'smallest'} size; expected {'2' if opt == 1 else '1'} or more, since a 1 "
                "is exported as a constant; give larger sizes"
            )

    def _specs(self) -> tuple[TensorSpec, ...]:
        pairs = zip(self.shapes, self.dims, strict=True)
        return tuple(
            TensorSpec(shape.name, tuple(dims), shape.dtype, shape.low, shape.high, shape.layout or "nchw")
            for shape, dims in pairs
        )

    def _check_traced(self, name: str, axis: Axis, specs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> None:
        index, dim = self.places[name][0]
        traced = self.shapes[index].sizes[dim]
        given = self.given[name] is not None
        if axis.min < axis.max and axis.opt == 1:
            raise self._traced_at_one(name, axis, specs, axes)
        if self.fixed and given and not axis.takes(traced):
            low, high = min(axis.min, traced), max(axis.max, traced)
            opt = axis.opt if traced == 1 else traced  # an optimum of 1 is refused
            raise InputError(
                f"received dynamic {name}={axis} with a shape of {name} {traced}; expected the optimum to be the "
                f"traced size; write {name}={low}:{opt}:{high} or change --shape"
            )

    def _traced_at_one(
        self, name: str, axis: Axis, specs: Sequence[TensorSpec], axes: Mapping[str, Axis]
    ) -> InputError:
        """The error of an axis that is traced at 1, with the one command that works."""
        size = next(size for size in axis.sizes if size > 1)
        new = Axis(axis.min, size, axis.max, axis.multiple)
        sizes = {other: found.opt for other, found in axes.items()} | {name: size}
        command = f"{name}={new.text}"
        if self.fixed:
            inputs = (replace(shape, sizes=spec.resolve(sizes)) for shape, spec in zip(self.shapes, specs, strict=True))
            shapes = " ".join(f"--shape {_shown(shape, alone=len(self.shapes) == 1)}" for shape in inputs)
            items = [command if other == name else _item(other, value) for other, value in self.given.items()]
            command = f"{shapes} --dynamic {','.join(items)}"
        return InputError(
            f"received dynamic {name}={axis}, traced at 1; expected a traced size of 2 or more, since a 1 is "
            f"exported as a constant; write {command}"
        )


def _shown(shape: Shape, *, alone: bool) -> str:
    """Return the text of a shape for --shape, with the layout only if sizes alone would be read otherwise."""
    if shape.layout == "nchw" and not looks_like_channels(shape):
        shape = replace(shape, layout="")
    return shape.unnamed if alone else shape.text


def _item(name: str, given: Given) -> str:
    return name if given is None else f"{name}={given.text if isinstance(given, Axis) else given}"


def _given(name: str, value: Axis | Sequence[int] | str | None) -> Given:
    if value is None or isinstance(value, Axis):
        return value
    if isinstance(value, str):
        if value.isdigit():
            raise InputError(
                f"received {name}={value} in dynamic, one size; expected min:opt:max; write {name}=1:{value}:{value}, "
                f"or {name}=none if it does not vary, and the size in --shape"
            )
        if not _RANGE.fullmatch(value):
            return value
        value = [int(size) for size in value.split(":")]
    try:
        sizes = [int(size) for size in value]
        low, opt, high = sizes[:3]
        (step,) = sizes[3:] or [1]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"received {value!r} for dynamic axis {name!r}; expected (min, opt, max) or (min, opt, max, step); write "
            "it as (1, 2, 8)"
        ) from error
    return _stepped(name, (low, opt, high), step)


def _stepped(name: str, sizes: tuple[int, int, int], step: int, why: str = "") -> Axis:
    """The range with this step; InputError with the nearest multiples if its three numbers are none."""
    text = ":".join(map(str, sizes))
    try:
        Axis(*sizes)
        if step < 1:
            raise InputError(f"received range {text}:{step} with a step of {step}; give a step of 1 or more")
    except InputError as error:
        raise InputError(f"received dynamic axis {name!r}: {str(error).removeprefix('received ')}") from error
    nearest = [max(step, (size + step // 2) // step * step) for size in sizes]
    if nearest != list(sizes):
        shape = f", with a shape of {name} {nearest[1]}" if nearest[1] != sizes[1] else ""
        written = ":".join(map(str, [*nearest, step]))
        raise InputError(
            f"received dynamic {name}={text}; expected multiples of {step}{why}; write {name}={written}{shape}"
        )
    return Axis(*sizes, step)


def _default(dim: int, traced: int, step: int) -> Axis:
    if traced % step:
        raise InputError(
            f"received a shape with a size of {traced}, which a tie divides by {step}; expected a multiple of "
            f"{step}; change --shape to {max(step, round(traced / step) * step)} there"
        )
    if dim == 0:
        traced = max(2, traced)
        low, high = 1, 8 * traced
    else:
        low, high = max(1, traced // 2), 2 * traced
    return Axis(-(-low // step) * step, traced, high // step * step, step)
