"""``amax`` and ``amin`` over every axis, for which torch.onnx wants the axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .calls import Arguments

_NAMES = ("input", "dim", "keepdim")


def _over_all(extreme: Callable[[Tensor], Tensor], call: Arguments) -> Tensor | None:
    x = call["input"]
    if call.get("dim", ()) not in ((), []):
        return None
    found = extreme(x)
    return found.reshape([1] * x.dim()) if call.get("keepdim") else found


REWRITES: dict[Any, Any] = {
    torch.amax: (_NAMES, partial(_over_all, torch.max)),
    Tensor.amax: (_NAMES, partial(_over_all, torch.max)),
    torch.amin: (_NAMES, partial(_over_all, torch.min)),
    Tensor.amin: (_NAMES, partial(_over_all, torch.min)),
}
