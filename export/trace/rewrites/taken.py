"""``take_along_dim`` as the gather that it is: its broadcast makes numbers of dynamic sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def _take(call: Arguments) -> Tensor | None:
    x, indices, dim = call["input"], call["indices"], call.get("dim")
    if dim is None or x.dim() != indices.dim():
        return None
    dim %= x.dim()

    def spread(one: Tensor, other: Tensor) -> Tensor:
        """``one`` as long as ``other`` in the dimensions in which it is written as 1."""
        sizes = zip(one.shape, other.shape, strict=True)
        return one.expand(
            [size if at == dim or type(size) is not int or size != 1 else of for at, (size, of) in enumerate(sizes)]
        )

    return spread(x, indices).gather(dim, spread(indices, x))


_NAMES = ("input", "indices", "dim")
REWRITES: dict[Any, Any] = dict.fromkeys((torch.take_along_dim, Tensor.take_along_dim), (_NAMES, _take))
