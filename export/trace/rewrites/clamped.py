"""``clamp`` between an int, a size and a float, whose translation torch.onnx finds for bounds of one type alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def _of_one_type(clamp: Callable[..., Tensor], call: Arguments) -> Tensor | None:
    bounds = call.get("min"), call.get("max")
    are_floats = [isinstance(bound, float | torch.SymFloat) for bound in bounds]
    if any(are_floats) == all(are_floats) or any(bound is None or isinstance(bound, Tensor) for bound in bounds):
        return None
    # a float makes floats of whole numbers, whichever bound it is; so does a size, which depends on the input
    return clamp(call["input"], *map(torch.sym_float, bounds))


REWRITES: dict[Any, Any] = {
    clamp: (("input", "min", "max"), partial(_of_one_type, clamp))
    for clamp in (
        torch.clamp,
        torch.clamp_,
        Tensor.clamp,
        Tensor.clamp_,
        torch.clip,
        torch.clip_,
        Tensor.clip,
        Tensor.clip_,
    )
}
