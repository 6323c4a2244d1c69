"""The file of a bundle's recorded cases, whose arrays are named ``case_0/input/x``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError, typed_line


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """Open the file for reading, array by array.

    Raises InputError if it is no file of arrays, or for what is not as expected while it is open.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = typed_line(error)
        raise InputError(
            f"the recorded cases in '{path}' cannot be read ({reason}); run attn2trt verify, then export again"
        ) from error
