"""The way from a photograph to a model's input: size, pixel scale, mean and standard deviation, order of the channels.

The layout of the input itself (nchw or nhwc) is its ``TensorSpec``'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import InputError
from .arguments import checked
from .dimension import size_of
from .plain_data import plain
from .tensor_spec import Axis, TensorSpec, optima
from .typed_json import is_number

if TYPE_CHECKING:
    from .manifest_entries import PreprocessingEntry

Resize = Literal["crop", "letterbox", "stretch"]
Anchor = Literal["center", "top-left"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Order = Literal["RGB", "BGR"]
BYTE = 1 / 255
# Pixels of a resized image before its centre is cut out: a photograph a thousand times as wide as high has more.
MOST_PIXELS = 1 << 26
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "resize": get_args(Resize),
    "anchor": get_args(Anchor),
    "interpolation": get_args(Interpolation),
    "order": get_args(Order),
}


@dataclass(frozen=True)
class Placement:
    """The place of a photograph in the input: first resized to (``height``, ``width``), then shifted.

    ``top`` and ``left`` are the input's row and column of its first pixel: below 0 if it is cropped, above 0 behind a
    border. ``original`` is the photograph's own (h, w).
    """

    original: tuple[int, int]
    height: int
    width: int
    top: int
    left: int

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input for each pixel of the photograph, by rows and by columns."""
        return self.height / self.original[0], self.width / self.original[1]


@checked
@dataclass(frozen=True)
class Preprocessing:
    """The steps by which a model's author made an input of a photograph.

    Attributes:
        resize: "crop": the shorter side is resized to the input's size over ``crop``, and the centre is cut out.
            "letterbox": the whole image fits into that size, with a border. "stretch": both sides are resized to it.
        crop: The share of the resized image that is cut out, in each direction.
        interpolation: The filter, by Pillow's name of it.
        antialias: The filter grows with the reduction, as in Pillow; False samples four pixels, as OpenCV does.
        pad: The border's value in each channel, or one for all, 0 to 255 as the photograph has it.
        anchor: The place of the image within its border.
        scale: Factor of the pixels, which are 0 to 255.
        mean: What is subtracted from each channel after that; empty for nothing.
        std: What each channel is divided by then; empty for nothing.
        order: The order of the channels, in which ``mean``, ``std`` and ``pad`` are given too.
        size: (c, h, w) of the input into which a photograph is made; empty if nothing says it.

    Raises:
        InputError: A value is none of these.
    """

    resize: Resize = "crop"
    crop: float = 1.0
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    pad: tuple[float, ...] = (0.0,)
    anchor: Anchor = "center"
    scale: float = BYTE
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    order: Order = "RGB"
    size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _wrong(name, getattr(self, name), f"one of {', '.join(choices)}")
        if not 0 < self.crop <= 1:
            raise _wrong("crop", self.crop, "a share above 0, at most 1")
        if not 0 < self.scale < math.inf:
            raise _wrong("scale", self.scale, "a factor above 0, as 1/255 or 1")
        if not self.pad or not all(0 <= value <= 255 for value in self.pad):
            raise _wrong("pad", list(self.pad), "one number from 0 to 255, or one for each channel")
        if not all(map(math.isfinite, self.mean)):
            raise _wrong("mean", list(self.mean), "finite numbers")
        if not all(0 < value < math.inf for value in self.std):
            raise _wrong("std", list(self.std), "numbers above 0")

    def check_channels(self, channels: int) -> None:
        """Raise InputError if a value for each channel is given for another number of channels."""
        for name in ("pad", "mean", "std"):
            values = getattr(self, name)
            if len(values) not in (0, 1, channels):
                raise _wrong(name, list(values), f"one number, or one for each of the input's {channels} channels")

    def check_size(self, taker: TensorSpec, axes: Mapping[str, Axis]) -> None:
        """Raise InputError if ``size`` is given, and none that this input takes with these axes."""
        dims = (taker.shape[-1], *taker.shape[1:-1]) if taker.layout == "nhwc" else taker.shape[1:]
        middle = optima(axes)
        taken = [axes[dim].sizes if isinstance(dim, str) and dim in axes else (size_of(dim, middle),) for dim in dims]
        if self.size and not (
            len(self.size) == len(taken) and all(side in sizes for side, sizes in zip(self.size, taken, strict=True))
        ):
            words = ", ".join(f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else str(sizes[0]) for sizes in taken)
            wanted = f"[{words}], as the input {taker.name} has it; correct it or leave it out"
            raise _wrong("size", list(self.size), wanted)

    def place(self, original: tuple[int, int], size: tuple[int, int]) -> Placement:
        """Return the place of an (h, w) photograph in an (h, w) input.

        Raises InputError if the resized photograph would be too large to hold: one that is far from square.
        """
        # a ratio that was a quotient of two sizes must give back the size
        height, width = self._resized(original, *(math.floor(side / self.crop + 1e-6) for side in size))
        if height * width > MOST_PIXELS:
            raise InputError(
                f"an image of {original[1]} x {original[0]} pixels would be resized to {width} x {height} for an input "
                f"of {size[1]} x {size[0]}; expected one that is closer to square; crop it"
            )
        gaps = size[0] - height, size[1] - width
        top, left = (0, 0) if self.anchor == "top-left" else map(_before, gaps)
        return Placement(original, height, width, top, left)

    def _resized(self, original: tuple[int, int], height: int, width: int) -> tuple[int, int]:
        """Return the (h, w) to which a photograph is resized so that it fills, fits or covers that size."""
        if self.resize == "stretch":
            return height, width
        h, w = original
        is_flat = width * h < height * w  # flatter than the input
        if self.resize == "letterbox":
            return (max(1, round(width * h / w)), width) if is_flat else (height, max(1, round(height * w / h)))
        return (height, int(height * w / h)) if is_flat else (int(width * h / w), width)

    def to_json(self) -> PreprocessingEntry:
        """Return the entry of the manifest."""
        entry: PreprocessingEntry = plain(self)
        if not self.size:
            del entry["size"]
        return entry

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Preprocessing | None:
        """Return what an entry of a manifest says; None for an empty one. A field that is not there has its default.

        Raises InputError for a name or a value that is none of the fields above.
        """
        if not entry:
            return None
        fields = cls.__dataclass_fields__
        if unknown := set(entry) - set(fields):
            raise InputError(
                f"received preprocessing with {min(unknown)!r}; expected {', '.join(fields)}; correct or leave it out"
            )
        return cls(**{name: _field(name, value) for name, value in entry.items()})


def _before(gap: int) -> int:
    """Return the half of a gap above or to the left; the odd pixel goes as in torchvision and in Ultralytics."""
    return round(gap / 2) if gap < 0 else gap // 2


def _field(name: str, value: Any) -> Any:
    """Return a value as the field has it, with its type checked."""
    if name in ("pad", "mean", "std", "size"):
        numbers = value if isinstance(value, list | tuple) else [value]
        if not all(is_number(number) for number in numbers):
            raise _wrong(name, value, "a list of numbers")
        return tuple(numbers)
    if name in ("crop", "scale") and not is_number(value):
        raise _wrong(name, value, "a number")
    if name == "antialias" and not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def _wrong(name: str, value: object, expected: str) -> InputError:
    return InputError(f"received preprocessing with {name} {value!r}; expected {expected}")
