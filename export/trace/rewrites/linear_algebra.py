"""Inverses, solutions of linear equations and triangular factors of small matrices, by elimination.

ONNX has no linear algebra but products and determinants. The steps are LAPACK's: a pivot of the largest magnitude in
its column, as a homography or a camera's matrix may have a zero on its diagonal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .calls import Arguments

LARGEST = 16  # steps grow with the side


def _is_small(matrix: Any) -> bool:
    side = matrix.shape[-1] if isinstance(matrix, Tensor) and matrix.dim() >= 2 else None
    return isinstance(side, int) and side <= LARGEST and matrix.shape[-2] == side and matrix.is_floating_point()


def eliminated(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve ``matrix @ x = right``, (..., n, n) and (..., n, m), by elimination with pivots."""
    side = matrix.shape[-1]
    rows = torch.arange(side, device=matrix.device).unsqueeze(-1)  # (n, 1)
    both = torch.cat([matrix, right], -1)
    for step in range(side):
        best = both[..., step:, step : step + 1].abs().argmax(-2, keepdim=True) + step  # (..., 1, 1)
        order = torch.where(rows == step, best, torch.where(rows == best, step, rows))
        both = both.gather(-2, order.expand(both.shape))
        pivot = both[..., step : step + 1, :] / both[..., step : step + 1, step : step + 1]
        both = torch.where(rows == step, pivot, both - both[..., step : step + 1] * pivot)
    return both[..., side:]


def _inverse(call: Arguments) -> Tensor | None:
    matrix = call["A"]
    if not _is_small(matrix):
        return None
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return eliminated(matrix, one.expand(matrix.shape))


def _solution(call: Arguments) -> Tensor | None:
    matrix, right = call["A"], call["B"]
    if not _is_small(matrix) or not call.get("left", True):
        return None
    is_vector = right.dim() == 1 or (right.dim() == matrix.dim() - 1 and right.shape == matrix.shape[:-1])
    found = eliminated(*_alike(matrix, right.unsqueeze(-1) if is_vector else right))
    return found.squeeze(-1) if is_vector else found


def _alike(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return both with the outer dimensions of both."""
    outer = torch.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])  # type: ignore[no-untyped-call]
    return matrix.expand(*outer, *matrix.shape[-2:]), right.expand(*outer, *right.shape[-2:])


def _lower(call: Arguments) -> Tensor | None:
    """Return the triangular factor of a positive matrix, column by column."""
    matrix = call["A"]
    if not _is_small(matrix):
        return None
    rows = torch.arange(matrix.shape[-1], device=matrix.device).unsqueeze(-1)
    lower: Tensor | None = None
    for step in range(matrix.shape[-1]):
        column = matrix[..., step : step + 1]
        if lower is not None:
            column = column - lower @ lower[..., step : step + 1, :].mT
        column = torch.where(rows >= step, column / column[..., step : step + 1, :].sqrt(), 0.0)
        lower = column if lower is None else torch.cat([lower, column], -1)
    return lower.mT if lower is not None and call.get("upper", False) else lower


def _triangular(call: Arguments) -> Tensor | None:
    """Solve for a triangular matrix, row by row from the one with a single number."""
    matrix, right = call["A"], call["B"]
    if not _is_small(matrix) or not call.get("left", True):
        return None
    side, is_upper, is_unit = matrix.shape[-1], call["upper"], call.get("unitriangular", False)
    matrix, right = _alike(matrix, right)
    found: Tensor | None = None
    for row in reversed(range(side)) if is_upper else range(side):
        value = right[..., row : row + 1, :]
        if found is not None:
            known = slice(row + 1, None) if is_upper else slice(row)
            value = value - matrix[..., row : row + 1, known] @ found
        if not is_unit:
            value = value / matrix[..., row : row + 1, row : row + 1]
        found = value if found is None else torch.cat([value, found] if is_upper else [found, value], -2)
    return found


def _older(call: Arguments) -> Tensor | None:
    return _inverse({"A": call["input"]})


REWRITES: dict[Any, Any] = {
    torch.linalg.inv: (("A",), _inverse),
    **dict.fromkeys((torch.inverse, Tensor.inverse), (("input",), _older)),
    torch.linalg.solve: (("A", "B"), _solution),
    torch.linalg.cholesky: (("A",), _lower),
    torch.linalg.solve_triangular: (("A", "B"), _triangular),
}
