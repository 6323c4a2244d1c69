"""``x[mask] = value`` of a boolean mask, as the choice that it is: the same value wherever the mask is true.

torch.onnx writes it as the places that NonZero finds and a ScatterND to them. How many there are depends on values,
TensorRT for RTX has no NonZero, and TensorRT gives such a size a bound of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def assign(call: Arguments) -> Tensor | None:
    """Return the tensor that was assigned to, None if the assignment is another one."""
    x: Tensor = call["input"]
    index, value = call["index"], call["value"]
    parts = list(index) if isinstance(index, tuple) else [index]
    if not all(part is Ellipsis or _is_whole(part) or _is_mask(part) for part in parts) or x.is_complex():
        return None
    if sum(map(_is_mask, parts)) != 1 or sum(part is Ellipsis for part in parts) > 1:
        return None
    place = next(position for position, part in enumerate(parts) if _is_mask(part))
    mask: Tensor = parts[place]
    before, after = place, len(parts) - place - 1  # the axes in front of the mask and behind it
    left = x.dim() - mask.dim() - sum(map(_is_whole, parts))
    if Ellipsis in parts[:place]:
        before += left - 1
    else:
        after = x.dim() - mask.dim() - before
    if left < 0 or mask.shape != x.shape[before : before + mask.dim()]:
        return None
    chosen = mask.reshape(*mask.shape, *[1] * after)
    if not isinstance(value, Tensor):
        return x.masked_fill_(chosen, value)
    # of more axes than are behind the mask it has a value for each place, unless they are 1
    if value.dim() > after and not all(
        isinstance(size, int) and size == 1 for size in value.shape[: value.dim() - after]
    ):
        return None
    return x.copy_(torch.where(chosen, value.reshape(value.shape[max(0, value.dim() - after) :]), x))


def _is_whole(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def _is_mask(part: Any) -> bool:
    return isinstance(part, Tensor) and part.dtype == torch.bool and part.dim() > 0


REWRITES: dict[Any, Any] = {Tensor.__setitem__: (("input", "index", "value"), assign)}
