"""Pooling as a gather of every window: maxima with their places, or of windows with gaps, which TensorRT has not.

Of equal elements in a window the first is the largest, as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments, Size, arange, in_groups, sizes_of


def dilated(call: Arguments, spatial: int) -> Tensor | None:
    """Return ``F.max_pool{spatial}d``, (n, c, *s) or (c, *s), without its places; None for whole numbers."""
    found = windows(call, spatial, -math.inf)
    return None if found is None else found[0].amax(-1)


def _with_places(spatial: int, call: Arguments) -> tuple[Tensor, Tensor] | None:
    """Return the maxima and where each is in the flattened image."""
    found = windows(call, spatial, -math.inf)
    if found is None:
        return None
    gathered, positions = found
    steps = [axis[0, 1] - axis[0, 0] if axis.shape[1] > 1 else 0 for axis in positions]
    return with_places(gathered, positions, steps, call["input"].shape[-spatial:])


def with_places(
    gathered: Tensor, positions: Sequence[Tensor], steps: Sequence[Any], sizes: Sequence[Size]
) -> tuple[Tensor, Tensor]:
    """Return the largest element of each window, and where it is in the flattened image.

    Args:
        gathered: The windows, (..., *counts, elements).
        positions: By axis the places of their elements, (count, kernel).
        steps: By axis the distance of one element from the next.
        sizes: Those of the image.
    """
    best: Tensor = gathered.argmax(-1)
    place: Any = 0
    for dim, (axis, step, size) in enumerate(zip(positions, steps, sizes, strict=True)):
        behind = math.prod(other.shape[1] for other in positions[dim + 1 :])
        within = torch.div(best, behind, rounding_mode="floor")  # place in the window along this axis
        best = best - within * behind
        start = axis[:, 0].reshape([-1, *[1] * (len(sizes) - 1 - dim)])
        place = place * size + start + within * step
    return gathered.amax(-1), place


def windows(call: Arguments, spatial: int, outside: float) -> tuple[Tensor, list[Tensor]] | None:
    """Return every window, (..., *counts, elements), and by axis the places of its elements, (count, kernel).

    What lies beside the image is ``outside``. None for whole numbers, and for windows whose size is one of the image.
    """
    x: Tensor = call["input"]
    kernels = sizes_of(call["kernel_size"], spatial)
    if not x.is_floating_point() or not all(isinstance(kernel, int) for kernel in kernels):
        return None
    steps = sizes_of(call.get("stride") or kernels, spatial)
    pads, gaps = sizes_of(call.get("padding", 0), spatial), sizes_of(call.get("dilation", 1), spatial)
    # the last window may reach beyond the padding by less than a step
    behind = [step - 1 if call.get("ceil_mode") else 0 for step in steps]
    around = [side for pad, more in zip(pads[::-1], behind[::-1], strict=True) for side in (pad, pad + more)]
    gathered, positions = F.pad(x, around, value=outside), []
    for dim, kernel, step, pad, gap in zip(range(-spatial, 0), kernels, steps, pads, gaps, strict=True):
        count = _count(x.shape[dim], kernel, step, pad, gap, is_ceiled=bool(call.get("ceil_mode")))
        place = arange(count, x).unsqueeze(1) * step + arange(kernel, x) * gap
        positions.append(place - pad)
        gathered = in_groups(gathered, x.dim() + dim, place).movedim(x.dim() + dim + 1, -1)
    return gathered.flatten(x.dim()), positions


def _count(size: Size, kernel: Size, step: Size, pad: Size, gap: Size, *, is_ceiled: bool) -> Any:
    """Return how many windows there are: rounded up, all that begin in front of the padding behind the image."""
    rest = size + 2 * pad - gap * (kernel - 1) - 1
    if not is_ceiled:
        return rest // step + 1
    last: Any = torch.sym_min(rest + step - 1, size + pad - 1)
    return last // step + 1


_NAMES = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
REWRITES: dict[Any, Any] = {
    function: (_NAMES, partial(_with_places, spatial))
    for spatial, function in enumerate(
        (F.max_pool1d_with_indices, F.max_pool2d_with_indices, F.max_pool3d_with_indices), 1
    )
}
