"""``squeeze`` as one of the dimensions that are 1: PyTorch leaves the others, and ONNX raises for them.

Without names it takes whatever is 1, the batch of one image among them, and the result has a dimension less there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..guards import is_one
from .calls import Arguments


def _squeeze(call: Arguments) -> Tensor | None:
    x: Tensor = call["input"]
    dims = call.get("dim", range(x.dim()))
    named: list[Any] = [dims] if isinstance(dims, int) else list(dims)
    if not all(isinstance(dim, int) and -x.dim() <= dim < x.dim() for dim in named):
        return None
    ones = [dim for dim in named if is_one(x.shape[dim])]
    if len(ones) == len(named):
        return None
    return x.squeeze(ones) if ones else x


_NAMES = ("input", "dim")
REWRITES: dict[Any, Any] = {torch.squeeze: (_NAMES, _squeeze), Tensor.squeeze: (_NAMES, _squeeze)}
