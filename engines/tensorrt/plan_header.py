"""The first bytes of a plan: the product and the version that built it, read without deserialising anything.

A plan of TensorRT begins with ``ftrt``, as the source of its trtexec has it (--getPlanVersionOnly); one of TensorRT for
RTX 1.7.1 begins with ``vtrt``, and states its own size. In both the version is in bytes 24 to 27.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from ...core.input_path import require_readable
from ...errors import InputError
from .flavours import RTX, TENSORRT, Flavour
from .versions import Version

TAGS = {b"ftrt": TENSORRT, b"vtrt": RTX}
# The tag, the version of the format, four bytes more of it, what is not needed here, the size, the version's parts.
_HEADER = struct.Struct("<4sIIIQ4B")
_FORMAT = 0


@dataclass(frozen=True)
class PlanHeader:
    """The product that built a plan, and its version."""

    flavour: Flavour
    version: Version

    def __str__(self) -> str:
        return f"{self.flavour.title} {self.version}"


def read_header(path: Path) -> PlanHeader:
    """Read the header of a plan. Raises InputError for what is none, is cut off, or has another format."""
    begin, length = _begin(path)
    expected = "expected a plan of TensorRT or TensorRT for RTX; build it, or copy it, again"
    if not begin:
        raise InputError(f"received {path}, which is empty; {expected}")
    flavour = TAGS.get(begin[:4])
    if flavour is None:
        raise InputError(f"received {path}, which is no plan: it begins with {begin[:4]!r}; {expected}")
    if length < _HEADER.size:
        raise InputError(f"received {path}, which is the beginning of a plan, {length} bytes long; {expected}")
    _, number, _, _, stated, *parts = _HEADER.unpack(begin)
    if number != _FORMAT:
        raise InputError(
            f"received {path}, a plan of {flavour.title} in format {number}; expected format {_FORMAT}, whose version "
            "can be read; build it again"
        )
    if flavour is RTX and length < stated:
        raise InputError(f"received {path}, the first {length} bytes of a plan of {stated}; {expected}")
    return PlanHeader(flavour, Version(*parts[:3]))


def _begin(path: Path) -> tuple[bytes, int]:
    """Return the first bytes of a file, and its length."""
    with require_readable(path, "a TensorRT plan").open("rb") as stream:
        return stream.read(_HEADER.size), path.stat().st_size
