"""``amax``, ``amin`` and ``aminmax`` over every axis, for which torch.onnx wants the axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .calls import Arguments

_NAMES = ("input", "dim", "keepdim")


def _over_all(extreme: Callable[[Tensor], Tensor], call: Arguments) -> Tensor | None:
    return None if call.get("dim") not in (None, (), []) else _of_whole(extreme, call)


def _of_whole(extreme: Callable[[Tensor], Tensor], call: Arguments) -> Tensor:
    x = call["input"]
    found = extreme(x)
    return found.reshape([1] * x.dim()) if call.get("keepdim") else found


def _both_over_all(call: Arguments) -> Any:
    if call.get("dim") is not None:
        return None
    return torch.return_types.aminmax((_of_whole(torch.min, call), _of_whole(torch.max, call)))


REWRITES: dict[Any, Any] = {
    torch.amax: (_NAMES, partial(_over_all, torch.max)),
    Tensor.amax: (_NAMES, partial(_over_all, torch.max)),
    torch.amin: (_NAMES, partial(_over_all, torch.min)),
    Tensor.amin: (_NAMES, partial(_over_all, torch.min)),
    torch.aminmax: (_NAMES[:1], _both_over_all),
    Tensor.aminmax: (_NAMES[:1], _both_over_all),
}
