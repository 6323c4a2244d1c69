"""Running extremes, products and sums of exponentials (``cummax``, ``cumprod``, ``logcumsumexp``), by doubling.

torch.onnx has no translation of the first two (pytorch/pytorch#102948). It writes the third by the exponentials of all
numbers below the largest, of which those far below it are lost. Each step joins every run with the run of the same
length before it, so that the logarithm of the size is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..guards import largest
from .calls import Arguments, arange


def _before(x: Tensor, step: int, dim: int, value: Any) -> Tensor:
    """``x`` moved by ``step`` along a dimension, with a value in front."""
    front = [0, 0] * (x.dim() - 1 - dim) + [step, 0]
    return F.pad(x, front, value=value).narrow(dim, 0, x.shape[dim])


def _steps(x: Tensor, dim: int) -> list[int] | None:
    """The lengths of the runs that are joined; None if it is not known how long the longest is."""
    most = largest(x.shape[dim])
    return None if most is None else [2**power for power in range((most - 1).bit_length())]


def _doubled(value: float, join: Callable[[Tensor, Tensor], Tensor], call: Arguments) -> Tensor | None:
    """Join all numbers up to each; ``value`` changes nothing."""
    x: Tensor = call["input"]
    if not x.dim() or x.is_complex():
        return None
    dim = call["dim"] % x.dim()
    steps = _steps(x, dim)
    for step in steps or ():
        x = join(x, _before(x, step, dim, value))
    return None if steps is None else x


def _product(call: Arguments) -> Tensor | None:
    x: Tensor = call["input"]
    of_kind = x.dtype if x.is_floating_point() or x.is_complex() else torch.int64
    return _doubled(1.0, torch.mul, {**call, "input": x.to(call.get("dtype") or of_kind)})


def _extreme(kind: Any, is_later: Any, value: float, call: Arguments) -> Any:
    """The extreme up to each number, and its place, of equal ones the last."""
    x: Tensor = call["input"]
    dim = call["dim"] % max(x.dim(), 1)
    if not x.dim() or not x.is_floating_point() or (steps := _steps(x, dim)) is None:
        return None
    places = arange(x.shape[dim], x).reshape([-1 if at == dim else 1 for at in range(x.dim())]).expand(x.shape)
    for step in steps:
        other, others = _before(x, step, dim, value), _before(places, step, dim, 0)
        stays = is_later(x, other)
        x, places = torch.where(stays, x, other), torch.where(stays, places, others)
    return getattr(torch.return_types, kind.__name__)((x, places))


_NAMES = ("input", "dim")
_TYPED = ("input", "dim", "dtype")
_LARGEST = partial(_extreme, torch.cummax, torch.ge, float("-inf"))
_SMALLEST = partial(_extreme, torch.cummin, torch.le, float("inf"))
_LOG_SUM = partial(_doubled, float("-inf"), torch.logaddexp)
REWRITES: dict[Any, Any] = {
    torch.cummax: (_NAMES, _LARGEST),
    Tensor.cummax: (_NAMES, _LARGEST),
    torch.cummin: (_NAMES, _SMALLEST),
    Tensor.cummin: (_NAMES, _SMALLEST),
    torch.cumprod: (_TYPED, _product),
    Tensor.cumprod: (_TYPED, _product),
    torch.logcumsumexp: (_NAMES, _LOG_SUM),
    Tensor.logcumsumexp: (_NAMES, _LOG_SUM),
}
