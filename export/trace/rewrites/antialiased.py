"""An antialiased resize as two matrix products, one along the rows and one along the columns.

Resize has antialiasing from opset 18 on, and TensorRT's parser refuses it there. Each row of a matrix holds the
filter around one pixel of the result, as wide as the reduction, its weights adding up to one; it follows from the sizes
alone. Position embeddings of transformers are resized so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .calls import Arguments, Size, sizes_of

SHARPNESS = -0.5  # of the bicubic filter, as Pillow has it


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).relu()


def _cubic(distance: Tensor) -> Tensor:
    near = ((SHARPNESS + 2) * distance - (SHARPNESS + 3)) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * SHARPNESS
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"bilinear": _triangle, "bicubic": _cubic}


def matrix(given: Size, made: Size, factor: float | None, mode: str, like: Tensor) -> Tensor:
    """Return the (made, given) weights of every pixel given in every pixel made.

    ``factor`` is what pixels are multiplied by if that is not the quotient of the sizes.
    """
    pixels: Tensor = torch.arange(given, dtype=like.dtype, device=like.device) + 0.5
    places: Tensor = 2 * torch.arange(made, dtype=like.dtype, device=like.device) + 1
    centres = places.mul(given).div(2 * made) if factor is None else places / (2 * factor)
    distance = (pixels - centres.unsqueeze(1)).abs()
    shrunk = distance.mul(torch.sym_min(given, made)).div(given) if factor is None else distance * min(1.0, factor)
    weights = FILTERS[mode](shrunk)
    return weights / weights.sum(1, keepdim=True)


def resize(call: Arguments) -> Tensor | None:
    """Return ``F.interpolate`` with antialiasing; None for one that it does not know."""
    x, size, mode = call["input"], call.get("size"), call.get("mode", "nearest")
    if mode not in FILTERS or call.get("align_corners") or x.dim() != 4 or not x.is_floating_point():
        return None
    factors: list[Any] = [None, None]
    if size is None:
        factors = sizes_of(call["scale_factor"], 2)
        if not all(isinstance(factor, int | float) for factor in factors):
            return None
        size = [torch.sym_int(side * factor) for side, factor in zip(x.shape[2:], factors, strict=True)]
        factors = [None, None] if call.get("recompute_scale_factor") else list(map(float, factors))
    sides = zip(x.shape[2:], sizes_of(size, 2), factors, strict=True)
    rows, columns = (matrix(given, made, factor, mode, x) for given, made, factor in sides)
    found: Tensor = rows @ x @ columns.mT
    return found
