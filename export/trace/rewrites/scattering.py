"""``scatter`` and ``scatter_add`` of a part of its source, and ``scatter_reduce`` to a mean.

ONNX scatters all that it is given, and PyTorch what the index has a place for. A mean, which torch.onnx writes as the
last of the values, is a sum over a count.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def _part(call: Arguments) -> Tensor | None:
    """Return the part of the source that the index has places for; None if that is all of it."""
    index, source = call["index"], call.get("src")
    if not isinstance(source, Tensor) or not source.dim():
        return None
    part = source
    for dim, (wanted, given) in enumerate(zip(index.shape, source.shape, strict=True)):
        if wanted is not given and wanted != given:
            part = part.narrow(dim, 0, wanted)
    return None if part is source else part


def _partly(scatter: Any, call: Arguments) -> Tensor | None:
    part = _part(call)
    return None if part is None else scatter(call.pop("input"), **{**call, "src": part})


def _mean(call: Arguments) -> Tensor | None:
    x, dim, index, source = (call[name] for name in ("input", "dim", "index", "src"))
    if call.get("reduce") != "mean" or not x.is_floating_point():
        return None
    source = source if (part := _part(call)) is None else part
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
_SCATTERS = (torch.scatter_add, Tensor.scatter_add, Tensor.scatter_add_, torch.scatter, Tensor.scatter, Tensor.scatter_)
REWRITES: dict[Any, Any] = {
    **{scatter: (_NAMES[:4], partial(_partly, scatter)) for scatter in _SCATTERS},
    torch.scatter_reduce: (_NAMES, _mean),
    Tensor.scatter_reduce: (_NAMES, _mean),
    Tensor.scatter_reduce_: (_NAMES, _mean_in_place),
}
