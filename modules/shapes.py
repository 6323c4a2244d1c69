"""Input shapes, from their text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..core.nearest import nearest
from ..core.tensor_spec import FLOAT_DTYPES, INTEGER_DTYPES
from ..errors import InputError

LAYOUTS = ("nchw", "nhwc")
_SHAPE = re.compile(
    r"(?:(?P<name>[^=]+)=)?(?P<sizes>\d+(?:x\d+)*)(?::(?P<dtype>\w+)(?:\[(?P<low>{n}),(?P<high>{n})\])?)?"
    r"(?:@(?P<layout>nchw|nhwc))?".replace("{n}", r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
)


@dataclass(frozen=True)
class Shape:
    """One input at its traced sizes.

    ``low`` and ``high`` bound its values, both included, if they are given. ``layout`` is that of an image, nchw or
    nhwc; "" if nothing was stated.
    """

    name: str
    sizes: tuple[int, ...]
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None
    layout: str = ""

    @property
    def unnamed(self) -> str:
        """The text of ``parse_shape`` without the name."""
        bounds = "" if self.low is None else f"[{self.low},{self.high}]"
        dtype = f":{self.dtype}{bounds}" if bounds or self.dtype != "float32" else ""
        return "x".join(map(str, self.sizes)) + dtype + (f"@{self.layout}" if self.layout else "")

    @property
    def text(self) -> str:
        """The text that ``parse_shape`` takes."""
        return f"{self.name}={self.unnamed}" if self.name else self.unnamed


def parse_shapes(shapes: str | Sequence[str | Sequence[int]]) -> list[Shape]:
    """Return every shape of a sequence, or of a text alone: texts, or numbers as ``(2, 3, 224, 224)``.

    A text may hold several: ``image=2x3x64x64,depth=2x1x32x32``. Raises InputError for what is no shape.
    """
    texts = [_text(shape) for shape in ([shapes] if isinstance(shapes, str) else shapes)]
    return [parse_shape(one) for text in texts for one in _each(text)]


def _each(text: str) -> list[str]:
    """Split a text at its commas, if a shape stands between all of them; sizes that commas join stay one wrong text."""
    parts = re.split(r",(?![^\[]*\])", text)
    found = [_SHAPE.fullmatch(part.strip()) for part in parts]
    return parts if all(one and (one["name"] or "x" in one["sizes"]) for one in found) else [text]


def _text(shape: object) -> str:
    if isinstance(shape, str):
        return shape
    if isinstance(shape, tuple | list) and all(isinstance(size, int) for size in shape):
        return "x".join(map(str, shape))
    raise InputError(f"received shape {shape!r}; expected text as '2x3x224x224' or 'mask=2x16', or a tuple of numbers")


def parse_shape(text: str) -> Shape:
    """``2x3x224x224``, ``ids=2x16:int64[0,999]`` or ``size=2:float32[1,9]``; the name is empty if none is given."""
    found = _SHAPE.fullmatch(text.strip())
    if not found:
        raise InputError(
            f"received shape {text!r}; expected sizes joined by x, as 2x3x224x224, mask=2x16, ids=2x16:int64[0,999] or "
            f"size=2:float32[1,9]; {_written(text)}"
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
    bounds = _range(text, dtype, found["low"], found["high"])
    return Shape((found["name"] or "").strip(), sizes, dtype, *bounds, found["layout"] or "")


def _written(text: str) -> str:
    """Return how to write sizes that other signs join, or that have a sign for what varies."""
    sizes = re.split(r"\s*[,;*\u00d7xX ]\s*", text.strip("[](){} "))
    if len(sizes) > 1 and all(re.fullmatch("[0-9]+", size) for size in sizes):
        return f"write {'x'.join(sizes)}"
    if len(sizes) > 1 and all(re.fullmatch(r"[0-9]+|-1|\?|[A-Za-z]+", size) for size in sizes):
        return "write a number for each size; --dynamic names those that vary, as --dynamic batch,height,width"
    return "correct --shape"


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


def with_layouts(shapes: Sequence[Shape], layouts: Sequence[str]) -> list[Shape]:
    """Return the shapes with the layout of their images: ``nhwc``, or ``image=nhwc`` for one of several.

    Raises InputError for another layout, for an input without a shape, and for one that is no image.
    """
    found = list(shapes)
    for given in layouts:
        name, _, layout = (part.strip() for part in given.rpartition("="))
        chosen = [place for place, shape in enumerate(found) if not name or shape.name in (name, "")]
        images = [place for place in chosen if len(found[place].sizes) == 4]
        if layout not in LAYOUTS or not images or (name and len(images) < len(chosen)):
            raise InputError(
                f"received layout {given!r}; expected {' or '.join(LAYOUTS)} of an image's four sizes, or NAME=nhwc; "
                f"{nearest(layout, LAYOUTS, 'give its --shape with it')}"
            )
        for place in images:
            if found[place].layout:
                raise InputError(
                    f"received layout {given!r} for {found[place].text}; expected one layout for each; leave one out"
                )
            found[place] = replace(found[place], layout=layout)
    return found


def layouts_of(layout: str | Mapping[str, str] | None) -> list[str]:
    """Return layouts as ``with_layouts`` takes them, from one for all images or a mapping by the names of inputs."""
    if isinstance(layout, Mapping):
        return [f"{name}={value}" for name, value in layout.items()]
    return [layout] if layout else []


def named(shapes: Sequence[Shape], names: Sequence[str]) -> list[Shape]:
    """The shapes in the order of ``names`` (a forward's parameters), each with its name.

    Shapes of which none has a name are those of the first inputs. InputError if a name is unknown, given twice or
    skipped.
    """
    if len(shapes) <= len(names) and not any(shape.name for shape in shapes):
        return [replace(shape, name=name) for shape, name in zip(shapes, names, strict=False)]
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
