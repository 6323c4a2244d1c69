"""Read once in a process what torch.onnx reads anew at every export, the same each time.

That is the signatures of all operators that it can write, which it and onnxscript take from source code and
annotations. And torch writes down the type of a decorator, by which it registers what each operator is made of, at
every one of 11,000 uses: ``collections.abc.Callable[…]`` is built each time, and ``typing.Callable[…]``, which means
the same, is kept. All that took two thirds of the time that a small module's export takes.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from onnxscript import values
from torch.onnx._internal.exporter import _schemas


@contextmanager
def read_once() -> Iterator[None]:
    """While active, signatures and that type are kept; where another version has none of these names, it reads on."""
    with ExitStack() as stack:
        traced: Any = getattr(values, "TracedOnnxFunction", None)
        read = getattr(traced, "function_ir", None)
        if isinstance(read, property) and read.fget is not None:
            kept = functools.cached_property(read.fget)
            kept.__set_name__(traced, "function_ir")
            stack.enter_context(patch.object(traced, "function_ir", kept))
        if (signature := getattr(_schemas, "op_signature_from_function", None)) is not None:
            stack.enter_context(patch.object(_schemas, "op_signature_from_function", _kept(signature)))
        if getattr(torch._ops, "Callable", None) is Callable:
            stack.enter_context(patch.object(torch._ops, "Callable", typing.Callable))
        yield


@functools.cache
def _kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that computes each answer once; the same one for the same function."""
    return functools.cache(function)
