"""``squeeze`` of named dimensions, as one of those that are 1: PyTorch leaves the others, and ONNX raises for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def _squeeze(call: Arguments) -> Tensor | None:
    x: Tensor = call["input"]
    dims = call.get("dim")
    named: list[Any] = list(dims) if isinstance(dims, (list, tuple)) else [dims]
    if not all(isinstance(dim, int) and -x.dim() <= dim < x.dim() for dim in named):
        return None
    # of a dynamic size, asked here, the answer is a guard of the trace, as it is in PyTorch's own squeeze
    ones = [dim for dim in named if x.shape[dim] == 1]
    if len(ones) == len(named):
        return None
    return x.squeeze(ones) if ones else x


_NAMES = ("input", "dim")
REWRITES: dict[Any, Any] = {torch.squeeze: (_NAMES, _squeeze), Tensor.squeeze: (_NAMES, _squeeze)}
