"""Rankings of equal scores: the first in order comes first, as ONNX has it.

PyTorch leaves open which of equal scores ``topk``, ``sort``, ``kthvalue`` and ``median`` pick, and so does what is
gathered by them: zeros, a constant image and a channel that is off would be judged by chance. Every PyTorch run that
something is judged by therefore ranks equal scores in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from .operator_mode import operator_mode


def ranked_in_order(func: Any, args: Any, kwargs: Any) -> Any:
    """Return what an operator gives if it ranks, equal scores in their order; None if it is another one."""
    ranking = _rankings().get(func)
    return None if ranking is None else ranking(*args, **kwargs)


@cache
def _rankings() -> dict[Any, Callable[..., Any]]:
    """Return what computes each operator that ranks: looked up once, since every operator of a run is asked for."""
    import torch

    aten = torch.ops.aten

    def sort(x: Any, dim: int = -1, descending: bool = False) -> Any:
        return aten.sort.stable(x, stable=True, dim=dim, descending=descending)

    def sort_stable(x: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        return sort(x, dim, descending)

    return {
        aten.topk.default: _topk,
        aten.sort.default: sort,
        aten.sort.stable: sort_stable,
        aten.kthvalue.default: _kthvalue,
        aten.median.dim: _median,
    }


def _topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    import torch

    if not x.dim():
        return torch.ops.aten.topk.default(x, k, dim, largest, sorted)
    values, places = torch.ops.aten.sort.stable(x, stable=True, dim=dim, descending=largest)
    # copies: what the operator gives is its own memory
    return torch.return_types.topk((values.narrow(dim, 0, k).clone(), places.narrow(dim, 0, k).clone()))


def _kthvalue(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    import torch

    if not x.dim():
        return torch.ops.aten.kthvalue.default(x, k, dim, keepdim)
    return torch.return_types.kthvalue(_at(x, k - 1, dim, keepdim))


def _median(x: Any, dim: int, keepdim: bool = False) -> Any:
    import torch

    if not x.dim() or bool(x.isnan().any()):  # which is the median of all that it is among
        return torch.ops.aten.median.dim(x, dim, keepdim)
    return torch.return_types.median(_at(x, (x.shape[dim] - 1) // 2, dim, keepdim))


def _at(x: Any, place: int, dim: int, keepdim: bool) -> Any:
    """Return the number at a place of the order, and where it was: as a tuple, copies."""
    import torch

    ranked = torch.ops.aten.sort.stable(x, stable=True, dim=dim)
    found = (part.narrow(dim, place, 1).clone() for part in ranked)
    return tuple(part if keepdim else part.squeeze(dim) for part in found)


def in_order_mode() -> Any:
    """Return a mode in which every ranking has equal scores in their order."""

    def call(func: Any, args: Any, kwargs: Any) -> Any:
        found = ranked_in_order(func, args, kwargs)
        return func(*args, **kwargs) if found is None else found

    return operator_mode(call)
