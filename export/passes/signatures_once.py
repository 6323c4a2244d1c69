"""Read the signature of each of onnxscript's translations once in a process.

torch.onnx asks for all of them at every export, and onnxscript parses the source of each to answer, which takes a third
of a second: as long as to judge a small block.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from onnxscript import values


@contextmanager
def signatures_once() -> Iterator[None]:
    """While active, a translation keeps the signature that was read from its source."""
    traced: Any = getattr(values, "TracedOnnxFunction", None)
    read = getattr(traced, "function_ir", None)
    if not isinstance(read, property) or read.fget is None:  # another onnxscript, which may keep it itself
        yield
        return
    kept = cached_property(read.fget)
    kept.__set_name__(traced, "function_ir")
    traced.function_ir = kept
    try:
        yield
    finally:
        traced.function_ir = read
