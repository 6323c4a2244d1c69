"""``clamp`` between an int and a float, whose translation torch.onnx finds for bounds of one type alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def _of_one_type(clamp: Callable[..., Tensor], call: Arguments) -> Tensor | None:
    low, high = call.get("min"), call.get("max")
    if low is None or high is None or {type(low), type(high)} != {int, float}:
        return None
    return clamp(call["input"], float(low), float(high))  # a float makes floats of whole numbers, whichever it is


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
