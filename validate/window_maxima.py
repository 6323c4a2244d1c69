"""Maximum pooling whose places are wanted, as the choice in every window that it is.

Two elements of a window that nearly tie are chosen between by chance, and ``MaxUnpool2d`` puts the larger where it was
picked. A graph has such pooling as an ArgMax over its windows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def with_places(func: Any, args: Any, kwargs: Any, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return the maxima and places of ``F.max_pool2d(…, return_indices=True)``, picked by ``choose``.

    ``choose`` is given all windows, (..., rows, columns, elements), and returns the element of each. None for any other
    operator, and for pooling that nobody asked for its places; it gives them even so.
    """
    if func is not torch.ops.aten.max_pool2d_with_indices.default or not args[0].is_floating_point():
        return None
    if not _is_within(F.max_pool2d_with_indices.__code__):
        return None
    x, (maxima, places) = args[0], func(*args, **kwargs)
    elements = _places(x.shape[-2:], maxima.shape[-2:], *args[1:5])
    windows = x.flatten(-2)[..., elements.clamp_min(0)].masked_fill(elements < 0, -math.inf)
    if not torch.equal(_at(elements, windows.argmax(-1)), places):  # of numbers that are none
        return None
    picked = choose(windows)
    return windows.gather(-1, picked.unsqueeze(-1)).squeeze(-1), _at(elements, picked)


def _at(elements: Tensor, picked: Tensor) -> Tensor:
    return elements.expand(*picked.shape, -1).gather(-1, picked.unsqueeze(-1)).squeeze(-1)


def _places(size: Any, windows: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1) -> Tensor:
    """Return the flat place in the image of each element of each window, -1 in the padding."""
    axes = []
    for axis in range(2):
        k, pad, gap = (_of_axis(value, axis) for value in (kernel, padding, dilation))
        step = _of_axis(stride or kernel, axis)
        place = torch.arange(windows[axis])[:, None] * step + torch.arange(k) * gap - pad
        axes.append(torch.where((place >= 0) & (place < size[axis]), place, -1))
    rows, columns = axes[0][:, None, :, None], axes[1][None, :, None, :]
    return torch.where((rows >= 0) & (columns >= 0), rows * size[1] + columns, -1).flatten(-2)


def _of_axis(value: Any, axis: int) -> int:
    found: int = value if isinstance(value, int) else value[axis % len(value)]
    return found


def _is_within(code: Any) -> bool:
    """Return True if this code is running further up."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None
