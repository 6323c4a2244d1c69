"""``chunk`` along a dynamic dimension, as slices.

Its last piece is shorter, so that it becomes a split into sizes that the exporter cannot write
(pytorch/pytorch#134663).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments, is_symbolic


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


_NAMES = ("input", "chunks", "dim")
REWRITES: dict[Any, Any] = {torch.chunk: (_NAMES, _chunk), Tensor.chunk: (_NAMES, _chunk)}
