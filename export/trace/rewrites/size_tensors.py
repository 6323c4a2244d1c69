"""A tensor that is made of sizes (``torch.tensor([h, w])``), kept symbolic: torch makes numbers of them.

Detection transformers hold the shapes of their levels in one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments

_SIZES = (torch.SymInt, torch.SymFloat)
_NUMBERS = (bool, int, float)


def _leaves(data: Any) -> list[Any]:
    return [leaf for item in data for leaf in _leaves(item)] if isinstance(data, (list, tuple)) else [data]


def _built(data: Any, dtype: torch.dtype, device: Any) -> Tensor:
    if isinstance(data, (list, tuple)):
        return torch.stack([_built(item, dtype, device) for item in data])
    if isinstance(data, _SIZES):
        return torch.ones((), dtype=dtype, device=device).mul(data).to(dtype)
    return torch.full((), data, dtype=dtype, device=device)


def _tensor(call: Arguments) -> Tensor | None:
    """Return the tensor; None if none of its numbers is a size, or if something else is among them."""
    data, like = call["data"], call.get("input")
    leaves = _leaves(data)
    if not any(isinstance(leaf, _SIZES) for leaf in leaves):
        return None
    if call.get("requires_grad") or not all(isinstance(leaf, (*_SIZES, *_NUMBERS)) for leaf in leaves):
        return None
    has_floats = any(isinstance(leaf, (torch.SymFloat, float)) for leaf in leaves)
    own = like.dtype if like is not None else torch.get_default_dtype() if has_floats else torch.int64
    device = call.get("device") or (None if like is None else like.device)
    return _built(data, call.get("dtype") or own, device)


REWRITES: dict[Any, Any] = {
    torch.tensor: (("data",), _tensor),
    torch.as_tensor: (("data", "dtype", "device"), _tensor),
    Tensor.new_tensor: (("input", "data"), _tensor),
}
