"""What is deployed, as plain data: the inputs, the axes that may vary, and how the module is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .dimension import Dim, size_of

if TYPE_CHECKING:
    from torch import nn

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

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}" + (f" (multiples of {self.multiple})" if self.multiple > 1 else "")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. A shape holds ints and the names of dynamic axes: ``("batch", 64, "height", "width")``.

    An input's shape may also hold expressions of axes (``modules.dimension``), as ``"a.height/2"``. ``low`` and
    ``high`` bound its values (both included), if they are given. ``layout`` is "nhwc" for images with the channels in
    the last axis.
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

    def resolve(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape with every symbolic dimension replaced by its size."""
        return tuple(size_of(dim, sizes) for dim in self.shape)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(str(dim) for dim in self.shape)}]"


@dataclass(frozen=True)
class Target:
    """A module to deploy and everything that its export needs to know.

    ``build`` returns the module in eval mode, in float32, on the CPU; every call returns an equal, separate one.
    ``weights`` says in words where the weights come from, and ``weight_notes``, once it is built, what was done with
    them when they were loaded. ``fingerprint`` identifies what ``build`` returns without
    calling it; None if only the built module tells (a user's own factory). ``fallbacks`` are the same target with a
    fixed batch, to be tried in turn if it refuses a batch that nobody asked for.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    paper: str = ""
    source: str = ""
    weights: str = ""
    fingerprint: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    fallbacks: tuple[Target, ...] = ()
    weight_notes: list[str] = field(default_factory=list, compare=False)

    def sizes(self, which: str = "opt") -> dict[str, int]:
        """The size of every dynamic axis at its ``min``, ``opt`` or ``max``."""
        return {name: int(getattr(axis, which)) for name, axis in self.axes.items()}

    @property
    def file_name(self) -> str:
        """The target's name with every character that a folder name should not hold replaced."""
        return file_name(self.name)


def file_name(target: str) -> str:
    """Return a target's name with every character replaced that a folder name should not hold."""
    name = re.sub(r"\.py(?=[:+@]|$)", "", target)
    return re.sub(r"[^A-Za-z0-9_.+=,@-]+", "-", name).strip("-.") or "model"
