"""``rrelu`` in evaluation as the leaky ReLU of its mean slope: torch.onnx has no translation of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .calls import Arguments


def _mean_slope(call: Arguments) -> Tensor | None:
    if call.get("training", False):
        return None
    return F.leaky_relu(call["input"], (call.get("lower", 1 / 8) + call.get("upper", 1 / 3)) / 2)


_NAMES = ("input", "lower", "upper", "training", "inplace")
REWRITES: dict[Any, Any] = dict.fromkeys((torch.rrelu, F.rrelu), (_NAMES, _mean_slope))
