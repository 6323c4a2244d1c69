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

# The operators with their spatial axes; lines are pooled as maps of one row.
_POOLING: dict[Any, int] = {
    torch.ops.aten.max_pool2d_with_indices.default: 2,
    torch.ops.aten.max_pool3d_with_indices.default: 3,
}
_OF_LINES = F.max_pool1d_with_indices.__code__
_ASKED = (_OF_LINES, F.max_pool2d_with_indices.__code__, F.max_pool3d_with_indices.__code__)


def with_places(func: Any, args: Any, kwargs: Any, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return the maxima and places of ``F.max_pool*d(…, return_indices=True)``, picked by ``choose``.

    ``choose`` is given all windows, (..., *counts, elements), and returns the element of each. None for any other
    operator, and for pooling that nobody asked for its places; it gives them even so.
    """
    spatial = _POOLING.get(func)
    if spatial is None or not args[0].is_floating_point() or (asked := _asked()) is None:
        return None
    x, (maxima, places) = args[0], func(*args, **kwargs)
    elements = _places(x.shape[-spatial:], maxima.shape[-spatial:], *args[1:5])
    windows = x.flatten(-spatial)[..., elements.clamp_min(0)].masked_fill(elements < 0, -math.inf)
    if not torch.equal(_at(elements, windows.argmax(-1)), places):  # of numbers that are none
        return None
    picked = choose(windows.squeeze(-3)).unsqueeze(-2) if asked is _OF_LINES else choose(windows)
    return windows.gather(-1, picked.unsqueeze(-1)).squeeze(-1), _at(elements, picked)


def _at(elements: Tensor, picked: Tensor) -> Tensor:
    return elements.expand(*picked.shape, -1).gather(-1, picked.unsqueeze(-1)).squeeze(-1)


def _places(size: Any, windows: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1) -> Tensor:
    """Return the flat place in the image of each element of each window, -1 in the padding."""
    spatial = len(size)
    flat, is_inside = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.bool)
    for axis in range(spatial):
        k, pad, gap = (_of_axis(value, axis) for value in (kernel, padding, dilation))
        step = _of_axis(stride or kernel, axis)
        place = torch.arange(windows[axis])[:, None] * step + torch.arange(k) * gap - pad
        around = [1] * (spatial - 1)
        place = place.reshape(*around[:axis], windows[axis], *around, k, *around[axis:])
        flat, is_inside = flat * size[axis] + place, is_inside & (place >= 0) & (place < size[axis])
    return torch.where(is_inside, flat, -1).flatten(spatial)


def _of_axis(value: Any, axis: int) -> int:
    found: int = value if isinstance(value, int) else value[axis % len(value)]
    return found


def _asked() -> Any:
    """Return the code of the function further up that asks for places; None if there is none."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code not in _ASKED:
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else frame.f_code
