"""Inputs and outputs: their names, shapes and types, and the ranges of the axes that may vary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .dimension import Dim, size_of

FLOAT_DTYPES = ("float32", "float16")
INTEGER_DTYPES = ("int64", "int32", "uint8", "bool")
UINT8_MAX = 255


@dataclass(frozen=True)
class Axis:
    """The range of one dynamic axis; the optimum is the size that is traced, every size a multiple of ``multiple``."""

    min: int
    opt: int
    max: int
    multiple: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise InputError(
                f"range {self.min}:{self.opt}:{self.max} is not min:opt:max with 1 <= min <= opt <= max; "
                "order the three numbers"
            )
        if self.multiple < 1 or any(size % self.multiple for size in (self.min, self.opt, self.max)):
            raise InputError(
                f"range {self.min}:{self.opt}:{self.max} does not hold multiples of {self.multiple} alone; "
                f"give three multiples of {self.multiple}"
            )

    @property
    def sizes(self) -> range:
        """Every size that the axis may take, in order."""
        return range(self.min, self.max + 1, self.multiple)

    @property
    def text(self) -> str:
        """The range as --dynamic takes it: min:opt:max, or min:opt:max:multiple."""
        return f"{self.min}:{self.opt}:{self.max}" + (f":{self.multiple}" if self.multiple > 1 else "")

    def takes(self, size: int) -> bool:
        """Return True if a shape may have this size there: the optimum, or a 1, which gives way if the axis varies."""
        return size == self.opt or (size == 1 and self.min < self.max)

    def to_json(self) -> list[int]:
        """Return the range as the manifest holds it: [min, opt, max], and the multiple if that is not 1."""
        return [self.min, self.opt, self.max, *([self.multiple] if self.multiple > 1 else [])]

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}" + (f" (multiples of {self.multiple})" if self.multiple > 1 else "")


def optima(axes: Mapping[str, Axis]) -> dict[str, int]:
    """Return the size of every axis that is traced and timed."""
    return {name: axis.opt for name, axis in axes.items()}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: Its name in the graph.
        shape: Numbers and the names of dynamic axes, ``("batch", 64, "height", "width")``. That of an input may also
            hold expressions of axes (``core.dimension``), as ``"a.height/2"``.
        dtype: Its type, ``float32``.
        low: The lowest value of an input, if it is given.
        high: The highest value of an input, if it is given.
        layout: "nhwc" for images with the channels in the last axis.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None
    layout: str = "nchw"

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The lowest and highest value of an input as given, else every uint8, 0 and 1 for other integers, and None for
        floats."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        if self.dtype in FLOAT_DTYPES:
            return None
        return (0, UINT8_MAX) if self.dtype == "uint8" else (0, 1)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as the manifest holds it."""
        entry: dict[str, Any] = {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}
        if self.layout != "nchw":
            entry["layout"] = self.layout
        return entry if self.low is None else {**entry, "low": self.low, "high": self.high}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> TensorSpec:
        """Return the spec that ``to_json`` wrote."""
        bounds = entry.get("low"), entry.get("high")
        return cls(entry["name"], tuple(entry["shape"]), entry["dtype"], *bounds, entry.get("layout", "nchw"))

    def resolve(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape with every symbolic dimension replaced by its size."""
        return tuple(size_of(dim, sizes) for dim in self.shape)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(str(dim) for dim in self.shape)}]"
