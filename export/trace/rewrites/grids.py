"""``linspace`` and ``affine_grid`` whose lengths are dynamic sizes, computed from ``arange``.

Their signatures hold integers, so that a size becomes a number (pytorch/pytorch#184939, #73559, #30563).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments, Size, is_symbolic


def linspace(start: float, end: float, steps: Size, dtype: torch.dtype, device: Any = None) -> Tensor:
    """``torch.linspace``, exportable for every number of steps: from the start in its first half, else from the end."""
    place = torch.arange(steps, dtype=dtype, device=device)
    step = (end - start) / torch.sym_max(steps - 1, 1)
    return torch.where(place < steps // 2 + steps % 2, start + place * step, end - (steps - 1 - place) * step)


def _linspace(call: Arguments) -> Tensor | None:
    if not is_symbolic(call.get("steps")) or isinstance(call["start"], Tensor) or isinstance(call["end"], Tensor):
        return None
    dtype = call.get("dtype") or torch.get_default_dtype()
    if not dtype.is_floating_point:
        return None
    return linspace(call["start"], call["end"], call["steps"], dtype, call.get("device"))


def _places(size: Size, like: Tensor, *, align_corners: bool) -> Tensor:
    """The coordinates of ``size`` pixels between -1 and 1; 0 for a single one."""
    place: Tensor = torch.arange(size, dtype=like.dtype, device=like.device)
    if not align_corners:
        return (2 * place + 1 - size).div(size)
    gaps: Any = torch.sym_max(size - 1, 1)
    return (2 * place - (size - 1)).div(gaps)


def _affine_grid(call: Arguments) -> Tensor | None:
    theta, size = call["theta"], call["size"]
    if not is_symbolic(list(size)) or len(size) != 4:
        return None
    h, w = size[2], size[3]
    align_corners = bool(call.get("align_corners"))
    columns = _places(w, theta, align_corners=align_corners).view(1, w).expand(h, w)
    rows = _places(h, theta, align_corners=align_corners).view(h, 1).expand(h, w)
    base = torch.stack([columns, rows, torch.ones_like(rows)], -1).view(1, h * w, 3)
    grid: Tensor = base @ theta.transpose(1, 2)
    return grid.view(theta.shape[0], h, w, 2)


REWRITES: dict[Any, Any] = {
    torch.linspace: (("start", "end", "steps"), _linspace),
    F.affine_grid: (("theta", "size", "align_corners"), _affine_grid),
}
