"""A call of a PyTorch function as its rewrites see it: the function's arguments by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# A size of a traced tensor is a torch.SymInt, which stands in for an int without being one.
Size = int
Arguments = dict[str, Any]
# Returns the value in place of the call's, or None if the call is left as it is.
Rewrite = Callable[[Arguments], Any]


def bound(names: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    """Positional and keyword arguments together, under the names of the signature."""
    found = dict(zip(names, args, strict=False))
    found.update(kwargs)
    if "self" in found:
        found["input"] = found.pop("self")
    return found


def is_symbolic(value: Any) -> bool:
    """Return True if ``value``, or a size in it, is a size of a traced tensor."""
    if isinstance(value, (list, tuple)):
        return any(is_symbolic(item) for item in value)
    return isinstance(value, (torch.SymInt, torch.SymFloat))


def sizes_of(value: Any, count: int) -> list[Any]:
    """``value`` as ``count`` sizes: a single one stands for all."""
    sizes = list(value) if isinstance(value, (list, tuple)) else [value]
    return sizes * count if len(sizes) == 1 else sizes


def arange(count: Size, like: Tensor) -> Tensor:
    """0 to ``count`` - 1 as int64, on ``like``'s device."""
    return torch.arange(count, device=like.device)


def in_groups(x: Tensor, dim: int, place: Tensor) -> Tensor:
    """Take groups of elements along ``dim`` at ``place``, (groups, each): (..., s, ...) -> (..., groups, each, ...)."""
    before, after = x.shape[: dim % x.dim()], x.shape[dim:][1:]
    return x.index_select(dim, place.flatten()).reshape([*before, *place.shape, *after])
