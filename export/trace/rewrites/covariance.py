"""``torch.cov`` and ``torch.corrcoef``, spelt out: PyTorch asks for the value of their divisor, which no trace has.

The formula is that of PyTorch's documentation and of its ``Correlation.cpp``. The checks of the weights are made where
the module runs eagerly (pytorch/pytorch#107016).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..guards import is_one
from .calls import Arguments


def _covariance(call: Arguments) -> Tensor | None:
    x, correction = call["input"], call.get("correction", 1)
    if not isinstance(x, Tensor) or x.is_complex() or x.ndim > 2:
        return None
    x = x if x.ndim == 2 else x.reshape(1, -1)  # (variables, observations)
    counts: Any = call.get("fweights")
    importance: Any = call.get("aweights")
    if counts is None and importance is None:
        weighted = x
        total = x.shape[1]
        rest = total - correction
        divisor: Any = rest if rest > 0 else 0
    else:
        weights = importance if counts is None else counts if importance is None else counts * importance
        weighted = x * weights
        total = weights.sum()
        lost = correction if importance is None else correction * (weights * importance).sum() / total
        divisor = (total - lost).clamp(min=0)
    mean = weighted.sum(1, keepdim=True) / total
    centred = x - mean
    again = centred if weighted is x else centred * weights
    found: Tensor = centred @ again.t() / divisor
    return found.squeeze() if is_one(x.shape[0]) else found


def _correlation(call: Arguments) -> Tensor | None:
    found = _covariance(call)
    if found is None:
        return None
    if found.ndim == 0:
        return found / found
    deviation = found.diag().sqrt()
    return (found / deviation[:, None] / deviation).clamp(-1, 1)


_NAMES = ("input", "correction", "fweights", "aweights")
REWRITES: dict[Any, Any] = {
    **dict.fromkeys((torch.cov, Tensor.cov), (_NAMES, _covariance)),
    **dict.fromkeys((torch.corrcoef, Tensor.corrcoef), (("input",), _correlation)),
}
