"""``fill_diagonal_`` of a matrix as a diagonal that is filled: PyTorch traces the call for one size alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .calls import Arguments


def _fill(call: Arguments) -> Tensor | None:
    x: Tensor = call["input"]
    if x.dim() != 2 or call.get("wrap"):
        return None
    x.diagonal().fill_(call["fill_value"])
    return x


REWRITES: dict[Any, Any] = {Tensor.fill_diagonal_: (("input", "fill_value", "wrap"), _fill)}
