"""``cdist`` as the norm of differences.

The exporter expands the square, |a|² - 2ab + |b|², which loses half of the digits of two points that are near
(pytorch/pytorch#37734, #42479). Of other norms than the second it has no translation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments


def _distances(call: Arguments) -> Tensor:
    difference = call["x1"].unsqueeze(-2) - call["x2"].unsqueeze(-3)
    if (order := call.get("p", 2.0)) != 2.0:
        norm: Tensor = torch.linalg.vector_norm(difference, order, -1)
        return norm
    squared: Tensor = (difference * difference).sum(-1)
    return squared.sqrt()


REWRITES: dict[Any, Any] = {torch.cdist: (("x1", "x2", "p", "compute_mode"), _distances)}
