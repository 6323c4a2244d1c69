"""Medians, places in an order and membership by a sort or by comparisons: torch.onnx has no translation of them.

``sort(stable=True)`` is ONNX's own: TopK takes the first of equal numbers first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def _at(x: Tensor, dim: int, place: Any, keepdim: bool) -> tuple[Tensor, Tensor]:
    """Return the number at a place of the order along ``dim``, and where it was."""
    found = [part.narrow(dim, place, 1) for part in torch.sort(x, dim=dim)]
    values, indices = found if keepdim else [part.squeeze(dim) for part in found]
    return values, indices


def _median(call: Arguments) -> Any:
    x, dim = call["input"], call.get("dim")
    if not x.dim():
        return None
    if dim is None:
        flat = x.flatten()
        return _at(flat, 0, (flat.shape[0] - 1) // 2, keepdim=False)[0]
    dim %= x.dim()
    return torch.return_types.median(_at(x, dim, (x.shape[dim] - 1) // 2, call.get("keepdim", False)))


def _kth(call: Arguments) -> Any:
    x = call["input"]
    if not x.dim():
        return None
    dim = call.get("dim", -1) % x.dim()
    return torch.return_types.kthvalue(_at(x, dim, call["k"] - 1, call.get("keepdim", False)))


def _stable_sort(call: Arguments) -> Any:
    if not call.pop("stable", False):
        return None
    return torch.sort(call.pop("input"), **call)


def _stable_argsort(call: Arguments) -> Any:
    found = _stable_sort(call)
    return None if found is None else found[1]


def _search(call: Arguments) -> Tensor:
    edges, x = call["sorted_sequence"], call["input"]
    if (order := call.get("sorter")) is not None:
        edges = edges.gather(-1, order)
    if isinstance(x, Tensor):
        edges, x = edges if edges.dim() == 1 else edges.unsqueeze(-2), x.unsqueeze(-1)
    is_right = call.get("right", False) or call.get("side") == "right"
    count: Tensor = (edges <= x if is_right else edges < x).sum(-1)
    return count.int() if call.get("out_int32") else count


def _is_in(call: Arguments) -> Tensor | None:
    x, others = call["elements"], call["test_elements"]
    if not isinstance(x, Tensor) or not isinstance(others, Tensor):
        return None
    found = (x.unsqueeze(-1) == others.flatten()).any(-1)
    return ~found if call.get("invert") else found


_MEDIAN = ("input", "dim", "keepdim")
_KTH = ("input", "k", "dim", "keepdim")
_SORT = ("input", "dim", "descending", "stable")
_SEARCH = ("sorted_sequence", "input")
REWRITES: dict[Any, Any] = {
    torch.median: (_MEDIAN, _median),
    Tensor.median: (_MEDIAN, _median),
    torch.kthvalue: (_KTH, _kth),
    Tensor.kthvalue: (_KTH, _kth),
    torch.sort: (_SORT, _stable_sort),
    Tensor.sort: (_SORT, _stable_sort),
    torch.argsort: (_SORT, _stable_argsort),
    Tensor.argsort: (_SORT, _stable_argsort),
    torch.searchsorted: (_SEARCH, _search),
    torch.isin: (("elements", "test_elements"), _is_in),
}
