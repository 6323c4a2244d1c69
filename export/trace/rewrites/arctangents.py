"""``atan2`` of a zero and a negative number, which is π, or -π for a zero with a minus; ``angle`` comes down to it.

The exporter adds π for numbers above zero and takes it off for all others, so that a zero gives -π, and divides by a
zero with a minus (``_atan2`` of onnxscript's torch_lib).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def _arctangent(call: Arguments) -> Tensor | None:
    y, x = call["input"], call["other"]
    if not (y.is_floating_point() and x.is_floating_point()):
        return None
    return _atan2(y, x)


def _atan2(y: Tensor, x: Tensor) -> Tensor:
    zero = torch.zeros_like(x)
    half_turn = torch.full_like(y, math.pi)
    half_turn = torch.where(_is_negative(y), -half_turn, half_turn)
    slope = (y / torch.where(x == 0, zero, x)).atan()  # a zero with a minus would turn it round
    angle = torch.where(x < 0, slope + half_turn, slope)
    return torch.where(y == 0, torch.where(_is_negative(x), half_turn, zero), angle)


def _is_negative(x: Tensor) -> Tensor:
    """Return True where a number is below zero, or a negative zero."""
    return (x < 0) | (x.reciprocal() < 0)


def _angle(call: Arguments) -> Tensor | None:
    z = call["input"]
    return _atan2(z.imag, z.real) if z.is_complex() else None


REWRITES: dict[Any, Any] = {
    torch.atan2: (("input", "other"), _arctangent),
    torch.arctan2: (("input", "other"), _arctangent),
    Tensor.atan2: (("input", "other"), _arctangent),
    Tensor.arctan2: (("input", "other"), _arctangent),
    torch.angle: (("input",), _angle),
    Tensor.angle: (("input",), _angle),
}
