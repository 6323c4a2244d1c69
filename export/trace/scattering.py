"""``scatter_reduce`` to a mean, which torch.onnx writes as the last of the values: a sum, over a count."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def _mean(call: Arguments) -> Tensor | None:
    x, dim, index, source = (call[name] for name in ("input", "dim", "index", "src"))
    if call.get("reduce") != "mean" or not x.is_floating_point():
        return None
    count = torch.zeros_like(x).scatter_add(dim, index, torch.ones_like(source))
    if call.get("include_self", True):
        found: Tensor = x.scatter_add(dim, index, source) / (count + 1)
        return found
    mean = torch.zeros_like(x).scatter_add(dim, index, source) / count.clamp(min=1)
    return torch.where(count > 0, mean, x)


def _mean_in_place(call: Arguments) -> Tensor | None:
    found = _mean(call)
    return None if found is None else call["input"].copy_(found)


_NAMES = ("input", "dim", "index", "src", "reduce", "include_self")
REWRITES: dict[Any, Any] = {
    torch.scatter_reduce: (_NAMES, _mean),
    Tensor.scatter_reduce: (_NAMES, _mean),
    Tensor.scatter_reduce_: (_NAMES, _mean_in_place),
}
