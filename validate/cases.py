"""The inputs that a model is judged on: sizes inside the claimed ranges, and every kind of values (case_values.py)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core.graph_io import FLOAT32, check_bounds, rounded
from ..core.preprocessing import Preprocessing
from ..core.tensor_spec import Axis, TensorSpec, optima
from ..errors import InputError
from .arrays import Array
from .case_values import VALUES, make_values
from .images import MAX_CASES, assumed, image_feeds, image_paths

Feeds = dict[str, Array]

# A row, its counterpart and another: with two rows 2 of 156 broken graphs of cbam passed, with four none more was
# caught.
ROWS = 3


@dataclass(frozen=True)
class Case:
    """One set of inputs and why it exists. It holds no arrays.

    Attributes:
        name: Its name.
        why: The reason for it, in words.
        kind: The kind of its values, as case_values.py makes them.
        sizes: The size of every dynamic axis.
        make: Makes the arrays anew whenever they are asked for.
        row_inputs: The inputs that have one row, an index of dimension 0, for each sample.
        rows_alone: A batch of one is allowed.
        io: The type of inputs and outputs of the graphs that it is for; "" for all.
        narrow: The types below float32 of a file's inputs and outputs, by name; its module takes and gives float32.
        another: Makes other values of the same kind, if there are several inputs.
        at: Makes a case of the same kind at other sizes; None for one around arrays.
    """

    name: str
    why: str
    kind: str
    sizes: Mapping[str, int]
    make: Callable[[], Feeds]
    row_inputs: tuple[str, ...] = ()
    rows_alone: bool = False
    io: str = ""
    narrow: Mapping[str, str] = field(default_factory=dict)
    another: Callable[[], Feeds] | None = None
    at: Callable[[dict[str, int]], Case] | None = None

    @property
    def feeds(self) -> Feeds:
        """The inputs by name; each access makes new arrays."""
        return self.make()

    def is_for(self, io: str) -> bool:
        """Tell whether graphs whose inputs and outputs have this type are judged on the case."""
        return self.io in ("", io)

    def take(self, feeds: Feeds, rows: Sequence[int] | Array) -> Feeds:
        """Return the inputs of the case with the given rows of the batch, in this order."""
        return {name: value[rows] if name in self.row_inputs else value for name, value in feeds.items()}

    @classmethod
    def of(cls, name: str, feeds: Feeds, *, why: str = "", kind: str = "normal") -> Case:
        """A case around arrays that exist already."""
        return cls(name, why, kind, {}, lambda: dict(feeds))


def make_cases(
    inputs: Sequence[TensorSpec],
    axes: Mapping[str, Axis],
    *,
    seed: int = 0,
    images: Path | None = None,
    preprocessing: Preprocessing | None = None,
    io: str = FLOAT32,
) -> list[Case]:
    """Return every case for a model, the traced shape first.

    Args:
        inputs: The inputs.
        axes: The ranges of the axes that vary.
        seed: Draws the values.
        images: A folder of photographs, which are judged as well.
        preprocessing: The way from a photograph to the input; None if nobody said.
        io: The type of float inputs of some graph: all are rounded to it, and one more case is for graphs in float32.

    Raises:
        InputError: ``images`` holds no readable image, no input takes one, or ``io`` cannot hold an input.
    """
    check_bounds(inputs, io)
    maker = _Maker(tuple(inputs), dict(axes), seed)
    has_floats = any(spec.dtype.startswith("float") for spec in inputs)
    normal = "normal" if has_floats else "random_int"
    cases = [maker.case(name, why, normal, sizes) for name, why, sizes in size_cases(axes)]
    traced = optima(axes)
    if has_floats:
        cases += [maker.case(name, why, kind, sizes) for name, why, kind, sizes in _value_cases(axes)]
    else:
        cases += [maker.case(name, f"every integer at its {name}", name, traced) for name in ("lowest", "highest")]
    if images is not None:
        cases += _image_cases(maker, traced, images, preprocessing)
    if io == FLOAT32 or not any(spec.dtype == FLOAT32 for spec in inputs):
        return cases
    unrounded = maker.case("unrounded", f"digits that {io} does not have, for graphs in {FLOAT32}", normal, traced)
    return [*(_rounded(case, inputs, io) for case in cases), replace(unrounded, io=FLOAT32)]


def _rounded(case: Case, inputs: Sequence[TensorSpec], io: str) -> Case:
    bounds = {spec.name: spec.bounds for spec in inputs}

    def in_io(make: Callable[[], Feeds]) -> Callable[[], Feeds]:
        return lambda: {name: rounded(name, value, io, bounds[name]) for name, value in make().items()}

    return replace(case, make=in_io(case.make), another=case.another and in_io(case.another))


def image_cases(
    inputs: Sequence[TensorSpec],
    axes: Mapping[str, Axis],
    images: Path,
    *,
    seed: int,
    preprocessing: Preprocessing | None,
    most: int,
    option: str,
) -> list[Case]:
    """Return at most so many batches of the photographs in a folder, at the traced sizes; ``option`` is what named it.

    Raises InputError if ``images`` holds no readable image or no input takes one.
    """
    traced = optima(axes)
    return _image_cases(_Maker(tuple(inputs), dict(axes), seed), traced, images, preprocessing, most, option)


def check_sizes(index: Sequence[Mapping[str, Any]], axes: Mapping[str, Axis]) -> None:
    """Raise InputError for the first recorded case (an entry of the manifest) outside of the ranges of ``axes``."""
    for entry in index:
        for name, size in entry["sizes"].items():
            if name not in axes or size not in axes[name].sizes:
                allowed = f"{name} {axes[name]}" if name in axes else "no such axis"
                raise InputError(
                    f"received case {entry['name']} with {name}={size}; expected {allowed}; outside of it the graph "
                    "may compute something else: export it with a range that holds it"
                )


def size_cases(axes: Mapping[str, Axis]) -> list[tuple[str, str, dict[str, int]]]:
    """(name, why, size of every axis), each combination once; the traced sizes first."""
    traced = optima(axes)
    found = [("traced", "the sizes that were traced", traced)]
    if "batch" in axes:
        found.append(("batch_min", "the smallest batch", traced | {"batch": axes["batch"].min}))
        found.append(("batch_max", "the largest batch", traced | {"batch": axes["batch"].max}))
    others = {name: axis for name, axis in axes.items() if name != "batch"}
    if others:
        batch = {"batch": _interior(axes["batch"], 0.5, set())} if "batch" in axes else {}
        odd = {name: _interior(axis, 0.4, {axis.opt}) for name, axis in others.items()}
        uneven: dict[str, int] = {}
        for index, (name, axis) in enumerate(others.items()):
            # Equal heights and widths would not show that they were swapped.
            uneven[name] = _interior(axis, (0.25, 0.8)[index % 2], {axis.opt, odd[name], *uneven.values()})
        found += [
            ("size_min", "the smallest sizes", traced | {name: axis.min for name, axis in others.items()}),
            ("size_max", "the largest sizes", traced | {name: axis.max for name, axis in others.items()}),
            ("size_odd", "odd sizes that were not traced", traced | odd),
            ("size_uneven", "untraced, height and width unequal, another batch", traced | batch | uneven),
        ]
    seen: list[dict[str, int]] = []
    unique = []
    for name, why, sizes in found:
        if sizes not in seen:
            seen.append(sizes)
            unique.append((name, why, sizes))
    return unique


def _value_cases(axes: Mapping[str, Axis]) -> list[tuple[str, str, str, dict[str, int]]]:
    """Return (name, why, kind, sizes) of every kind of values.

    Values that reach behind a shut ReLU come at untraced sizes (wide, tall, large), those whose rows differ most in up
    to three rows, and those whose rows are alike in the smallest batch.

    A fault that shows at other sizes alone, or in one weight of a gate with one hidden unit, is the same for every
    input that leaves the unit shut, or that drives it so far that the gate behind it saturates.
    """
    traced = optima(axes)
    others = [name for name in axes if name != "batch"]
    sizes = {
        kind: traced | {name: _interior(axes[name], near[k % 2], {axes[name].opt}) for k, name in enumerate(others)}
        for kind, near in {"saturated": (0.8, 0.25), "flat": (0.25, 0.8), "level": (0.7, 0.8)}.items()
    }
    one = traced
    if "batch" in axes:
        batch = axes["batch"]
        one = traced | {"batch": batch.min}
        rows = max([batch.opt, *(size for size in batch.sizes[:ROWS] if size <= ROWS)])
        sizes["flat"]["batch"] = sizes["level"]["batch"] = rows
    return [(kind, why, kind, sizes.get(kind, one)) for kind, why in VALUES.items()]


def _interior(axis: Axis, fraction: float, taken: set[int]) -> int:
    """Return an odd size inside the range near ``fraction`` of it; a taken, even or end one only if no other is left.

    If sizes must be multiples of a number, odd means an odd multiple of it.
    """
    wanted = axis.min + fraction * (axis.max - axis.min)
    candidates = axis.sizes
    if len(candidates) > 64:
        near = round((wanted - axis.min) / axis.multiple)
        candidates = candidates[max(0, near - 32) : near + 33]
    return min(
        candidates, key=lambda n: (n in taken, n in (axis.min, axis.max), n // axis.multiple % 2 == 0, abs(n - wanted))
    )


@dataclass(frozen=True)
class _Maker:
    """Turns a name, a kind and sizes into a case."""

    inputs: tuple[TensorSpec, ...]
    axes: dict[str, Axis]
    seed: int

    def case(self, name: str, why: str, kind: str, sizes: dict[str, int]) -> Case:
        def make(draw: str = "") -> Feeds:
            # The inputs' names are not part of the seed: renaming one changes no value.
            rng = np.random.default_rng([self.seed, zlib.crc32(f"{name}{draw}".encode())])
            return {spec.name: make_values(spec, spec.resolve(sizes), kind, rng) for spec in self.inputs}

        another = partial(make, " again") if len(self.inputs) > 1 else None
        at = partial(self.case, name, why, kind)
        return Case(name, why, kind, sizes, make, self.row_inputs, self.rows_alone, another=another, at=at)

    @property
    def row_inputs(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.inputs if spec.shape and spec.shape[0] == self.rows)

    @property
    def rows(self) -> int | str | None:
        """The axis of the samples, or how many there are: without a batch axis, the first input's first dimension."""
        if "batch" in self.axes:
            return "batch"
        return next((spec.shape[0] for spec in self.inputs if spec.shape), None)

    @property
    def rows_alone(self) -> bool:
        """Return True if a batch of one is allowed, and no other dimension is as large as the batch."""
        is_first = not any(self.rows in spec.shape[1:] for spec in self.inputs)
        return isinstance(self.rows, str) and self.axes[self.rows].min == 1 and is_first


def _image_cases(
    maker: _Maker,
    sizes: dict[str, int],
    folder: Path,
    preprocessing: Preprocessing | None,
    most: int = MAX_CASES,
    option: str = "--inputs",
) -> list[Case]:
    taker, groups = image_paths(folder, maker.inputs, sizes, most=most, option=option)
    cases = []
    for number, group in enumerate(groups):
        noise = maker.case(f"images_{number}", "", "normal", sizes)

        def make(group: tuple[Path, ...] = group, noise: Case = noise) -> Feeds:
            images = image_feeds(group, taker.resolve(sizes), preprocessing, taker.bounds, layout=taker.layout)
            images = images if taker.dtype.startswith("float") else images.round()
            return noise.feeds | {taker.name: images.astype(taker.dtype, copy=False)}

        why = f"photographs{assumed(taker, preprocessing)}: " + ", ".join(dict.fromkeys(path.name for path in group))
        cases.append(replace(noise, why=why, kind="image", make=make, another=None))
    return cases
