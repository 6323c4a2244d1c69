"""Softmax of a tensor of one dimension, as of one row of two: TensorRT wants two dimensions or more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments


def _of_one_row(function: Callable[..., Tensor], call: Arguments) -> Tensor | None:
    x: Tensor = call.pop("input")
    if x.dim() != 1 or call.pop("dim", None) not in (0, -1):
        return None
    return function(x.unsqueeze(0), dim=1, **call).squeeze(0)


_TORCH, _FUNCTIONAL = ("input", "dim", "dtype"), ("input", "dim", "_stacklevel", "dtype")
REWRITES: dict[Any, Any] = {
    function: (names, partial(_of_one_row, function))
    for names, functions in (
        (_TORCH, (torch.softmax, Tensor.softmax, torch.special.softmax)),
        (_TORCH, (torch.log_softmax, Tensor.log_softmax, torch.special.log_softmax)),
        (_FUNCTIONAL, (F.softmax, F.softmin, F.log_softmax)),
    )
    for function in functions
}
