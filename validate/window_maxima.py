"""Maximum pooling whose places are wanted, as the choice in every window that it is.

Two elements of a window that nearly tie are chosen between by chance, and ``MaxUnpool2d`` puts the larger where it was
picked. A graph has such pooling as an ArgMax over its windows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# The operators with their spatial axes; lines are pooled as maps of one row.
_POOLING: dict[Any, int] = {
    torch.ops.aten.max_pool2d_with_indices.default: 2,
    torch.ops.aten.max_pool3d_with_indices.default: 3,
    torch.ops.aten.adaptive_max_pool2d.default: 2,
    torch.ops.aten.adaptive_max_pool3d.default: 3,
}
_ADAPTIVE = (torch.ops.aten.adaptive_max_pool2d.default, torch.ops.aten.adaptive_max_pool3d.default)
_OF_LINES = (F.max_pool1d_with_indices.__code__, F.adaptive_max_pool1d_with_indices.__code__)
_ASKED = (
    *(*_OF_LINES, F.max_pool2d_with_indices.__code__, F.max_pool3d_with_indices.__code__),
    *(F.adaptive_max_pool2d_with_indices.__code__, F.adaptive_max_pool3d_with_indices.__code__),
)
# These call the former, and leave the places.
_FOR_MAXIMA = tuple(getattr(F, f"_adaptive_max_pool{spatial}d").__code__ for spatial in (1, 2, 3))


def with_places(func: Any, args: Any, kwargs: Any, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return the maxima and places of ``F.max_pool*d(…, return_indices=True)``, or of adaptive ones.

    They are picked by ``choose``: it is given all windows, (..., *counts, elements), and returns the element of each.
    None for any other operator, and for pooling that nobody asked for its places; it gives them even so.
    """
    spatial = _POOLING.get(func)
    if spatial is None or not args[0].is_floating_point() or (asked := _asked()) is None:
        return None
    x, (maxima, places) = args[0], func(*args, **kwargs)
    is_line = asked in _OF_LINES
    spatial = 1 if is_line else spatial
    size, counts = x.shape[-spatial:], maxima.shape[-spatial:]
    axes = _bins(size, counts) if func in _ADAPTIVE else _windows(size, counts, *args[1:5])
    elements = _places(size, axes)
    windows = x.flatten(-spatial)[..., elements.clamp_min(0)].masked_fill(elements < 0, -math.inf)
    if not torch.equal(_at(elements, windows.argmax(-1)), places):  # of numbers that are none
        return None
    picked = choose(windows.squeeze(-3)).unsqueeze(-2) if is_line else choose(windows)
    return windows.gather(-1, picked.unsqueeze(-1)).squeeze(-1), _at(elements, picked)


def _at(elements: Tensor, picked: Tensor) -> Tensor:
    return elements.expand(*picked.shape, -1).gather(-1, picked.unsqueeze(-1)).squeeze(-1)


def _places(size: Any, axes: Sequence[Tensor]) -> Tensor:
    """Return the flat place in the image of each element of each window, -1 in the padding."""
    flat, is_inside = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.bool)
    around = [1] * (len(axes) - 1)
    for axis, place in enumerate(axes):
        count, length = place.shape
        spread = place.reshape(*around[:axis], count, *around, length, *around[axis:])
        flat, is_inside = flat * size[axis] + spread, is_inside & (spread >= 0) & (spread < size[axis])
    return torch.where(is_inside, flat, -1).flatten(len(axes))


def _windows(
    size: Any, counts: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1
) -> list[Tensor]:
    """Return by axis the places of every window's elements, (count, kernel), those in the padding outside of it."""
    axes = []
    for axis, count in enumerate(counts):
        k, step, pad, gap = (
            value if isinstance(value, int) else value[max(axis - len(size), -len(value))]
            for value in (kernel, stride or kernel, padding, dilation)
        )
        axes.append(torch.arange(count)[:, None] * step + torch.arange(k) * gap - pad)
    return axes


def _bins(size: Any, counts: Any) -> list[Tensor]:
    """Return by axis the places of every bin's elements, the last one repeated, since bins differ in length by one."""
    axes = []
    for length, count in zip(size, counts, strict=True):
        number = torch.arange(count)
        start, stop = number * length // count, ((number + 1) * length + count - 1) // count
        axes.append(torch.minimum(start[:, None] + torch.arange(length // count + 2), stop[:, None] - 1))
    return axes


def _asked() -> Any:
    """Return the code of the function further up that asks for places; None if there is none."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code not in _ASKED:
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None or (frame.f_back is not None and frame.f_back.f_code in _FOR_MAXIMA):
        return None
    return frame.f_code
