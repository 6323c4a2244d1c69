"""The tensors that a layer of a plan reads and writes, in the words of TensorRT's inspector.

A tensor has ``Dimensions``, -1 for a size that is left open, and its type as layers.py says. In memory it may take
more: "Channel major FP16 format where channel % 8 == 0" is padded up to 8 channels, which is left out here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Bytes of an element by what stands in a format or a type, the narrowest first: "Int8" in "thirty-two wide Int8".
_ELEMENTS: tuple[tuple[str, float], ...] = (
    (r"(?:u?int4|fp4(?:e2m1)?)", 0.5),
    (r"(?:u?int8|fp8(?:e4m3)?|bool)", 1),
    (r"(?:bf16|bfloat16?|fp16|half|float16)", 2),
    (r"(?:fp32|float|float32|tf32|int32)", 4),
    (r"int64", 8),
)
_WIDE = {"two": "2", "four": "4", "eight": "8", "sixteen": "16", "thirty-two": "32"}
# What lies beside each other, as TensorRT's own TensorFormat names it, by the words of 8.6 and 10.
_LAYOUTS = (
    (re.compile(r"row major (linear)", re.IGNORECASE), ""),
    (re.compile(rf"({'|'.join(_WIDE)}) wide channel", re.IGNORECASE), "chw"),
    (re.compile(r"channel major(?:.*channel % (\d+))?", re.IGNORECASE), "hwc"),
)
_TYPE = re.compile(r"\b(FP32|FP16|BF16|FP8|INT8|INT32|INT64|BOOL|Half|Float|BFloat16)\b", re.IGNORECASE)
_UNKNOWN = re.compile(r"N/A", re.IGNORECASE)


@dataclass(frozen=True)
class LayerTensor:
    """A tensor: its name, its sizes (-1 if unknown, None if all are), its type and format in words ("" if unknown)."""

    name: str
    shape: tuple[int, ...] | None
    form: str

    @property
    def bytes(self) -> int | None:
        """Return the bytes of its elements; None if sizes or type are unknown."""
        size = element_bytes(self.form)
        if size is None or self.shape is None or any(one < 0 for one in self.shape):
            return None
        return math.ceil(math.prod(self.shape) * size)


def element_bytes(words: str) -> float | None:
    """Return the bytes of an element of the type that these words spell; None if they spell none."""
    for pattern, size in _ELEMENTS:
        if re.search(rf"(?<![a-z0-9])k?{pattern}(?![a-z0-9])", words, re.IGNORECASE):
            return size
    return None


def short_form(words: str) -> str:
    """Write a type and format briefly: ``fp16 hwc8`` for "Channel major FP16 format where channel % 8 == 0"."""
    kind = _TYPE.search(words)
    layouts = ((found, name) for pattern, name in _LAYOUTS if (found := pattern.search(words)))
    found, name = next(layouts, (None, ""))
    size = "" if found is None else (found[1] or "").lower()
    return " ".join(filter(None, [kind[1].lower() if kind else "", name + _WIDE.get(size, size)])) or words


def read_tensor(entry: Mapping[str, Any]) -> LayerTensor:
    """Return one entry of a layer's ``Inputs`` or ``Outputs``."""
    words = {key.lower(): str(value) for key, value in entry.items()}
    kind, form = words.get("datatype", ""), words.get("format/datatype") or words.get("format", "")
    said = ", ".join(part for part in (kind, form) if part and not _UNKNOWN.search(part))
    dims = entry.get("Dimensions")
    shape = None if dims is None else tuple(int(size) for size in dims)
    return LayerTensor(words.get("name", ""), shape, said)
