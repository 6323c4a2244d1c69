"""``chunk`` and ``tensor_split`` along a dynamic dimension, and ``split`` by sizes or along one, as slices.

The last piece of a chunk is shorter, so that it becomes a split into sizes that the exporter cannot write
(pytorch/pytorch#134663). One of a length that is a size, a batch, becomes a sequence that its optimiser fails on.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from .calls import Arguments, is_symbolic

# as keywords they have other names in each of the two functions
_SPLIT = ("input", "sections", "dim")
_SPLIT_KEYWORDS = {"tensor": "input", "split_size_or_sections": "sections", "split_size": "sections"}


def _chunk(call: Arguments) -> tuple[Tensor, ...] | None:
    x, count, dim = call["input"], call["chunks"], call.get("dim", 0)
    size = x.shape[dim]
    if not is_symbolic(size) or is_symbolic(count):
        return None
    length = (size + count - 1) // count
    # PyTorch returns fewer pieces if the sizes run out: asked here, that becomes a guard of the trace.
    if (size + length - 1) // length != count:
        return None
    pieces = [x.narrow(dim, index * length, length) for index in range(count - 1)]
    return (*pieces, x.narrow(dim, (count - 1) * length, size - (count - 1) * length))


def _split(call: Arguments) -> tuple[Tensor, ...] | None:
    named = {_SPLIT_KEYWORDS.get(name, name): value for name, value in call.items()}
    x, given, dim = named["input"], named["sections"], named.get("dim", 0)
    size: Any = x.shape[dim]
    if not is_symbolic(given) and not is_symbolic(size):
        return None
    if isinstance(given, (list, tuple)):
        lengths = list(given)
    else:
        count = int((size + given - 1) // given)  # a guard of the trace: PyTorch returns so many pieces
        lengths = [given] * (count - 1) + [size - (count - 1) * given]
    starts = itertools.accumulate(lengths[:-1], initial=0)
    return tuple(x.narrow(dim, start, length) for start, length in zip(starts, lengths, strict=True))


def _tensor_split(call: Arguments) -> tuple[Tensor, ...] | None:
    x, dim = call["input"], call.get("dim", 0)
    count = call.get("indices_or_sections", call.get("sections"))
    size: Any = x.shape[dim]
    if not isinstance(count, int) or not is_symbolic(size):
        return None
    # the first of them are longer by one, so many as a division leaves over: traced, that became a constant
    starts = [index * (size // count) + torch.sym_min(index, size % count) for index in range(count)]
    return tuple(x.narrow(dim, start, end - start) for start, end in itertools.pairwise([*starts, size]))


_NAMES = ("input", "chunks", "dim")
_TENSOR_SPLIT = ("input", "indices_or_sections", "dim")
REWRITES: dict[Any, Any] = {
    torch.chunk: (_NAMES, _chunk),
    Tensor.chunk: (_NAMES, _chunk),
    torch.split: (_SPLIT, _split),
    Tensor.split: (_SPLIT, _split),
    torch.tensor_split: (_TENSOR_SPLIT, _tensor_split),
    Tensor.tensor_split: (_TENSOR_SPLIT, _tensor_split),
}
