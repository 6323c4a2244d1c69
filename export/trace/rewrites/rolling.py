"""``roll`` along a dynamic dimension, as a gather.

The exporter takes no shift that is a size (pytorch/pytorch#128324), and slices wrongly if the dimension is counted
from the end or the shift is longer than the dimension (microsoft/onnxscript#3024).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from .calls import Arguments, Size, arange, is_symbolic, sizes_of


def roll(x: Tensor, shift: Size, dim: int) -> Tensor:
    """``torch.roll`` along one dimension, exportable for every shift and size."""
    size = x.shape[dim]
    if not is_symbolic(shift) and statically_known_true(size > abs(shift)):
        return torch.roll(x, shift, dim % x.dim())
    place = arange(size, x) - shift
    return x.index_select(dim, place - torch.div(place, size, rounding_mode="floor") * size)


def _roll(call: Arguments) -> Tensor | None:
    x: Tensor = call["input"]
    dims = call.get("dims")
    if dims is None or dims == ():
        return None
    dims = sizes_of(dims, 1)
    shifts = sizes_of(call["shifts"], 1)
    if not any(is_symbolic(x.shape[dim]) for dim in dims) and not is_symbolic(shifts):
        return None
    for shift, dim in zip(shifts, dims, strict=True):
        x = roll(x, shift, dim)
    return x


_NAMES = ("input", "shifts", "dims")
REWRITES: dict[Any, Any] = {torch.roll: (_NAMES, _roll), Tensor.roll: (_NAMES, _roll)}
