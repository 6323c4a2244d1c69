"""Diagonals of matrices: torch.onnx writes one as a sum over EyeLike, which TensorRT does not take at dynamic sizes.

It has no form of a diagonal that is written to (``x.diagonal().fill_(0)``), which hides a token from itself.
"""

from __future__ import annotations

from typing import Any

import torch
from onnxscript import opset18

op: Any = opset18  # whose annotations know no Python numbers


def _matrices(x: Any, dim1: int, dim2: int) -> tuple[Any, list[int]]:
    """Return ``x`` with both dimensions at the end, and the order that brings it about."""
    rank = len(x.shape)
    last = [dim1 % rank, dim2 % rank]
    order = [at for at in range(rank) if at not in last] + last
    return (x if order == list(range(rank)) else op.Transpose(x, perm=order)), order


def _size(x: Any, dim: int) -> Any:
    """Return one size of ``x``, as a number without dimensions."""
    return op.Squeeze(op.Shape(x, start=dim, end=dim + 1), [0])


def _length(matrix: Any, rank: int, first_row: int, first_column: int) -> Any:
    rows, columns = op.Sub(_size(matrix, rank - 2), first_row), op.Sub(_size(matrix, rank - 1), first_column)
    return op.Max(op.Min(rows, columns), 0)


def _diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Take every (columns + 1)th element of the flattened matrices."""
    matrix, order = _matrices(x, dim1, dim2)
    rank, row, column = len(order), max(-offset, 0), max(offset, 0)
    columns = _size(matrix, rank - 1)
    count = _length(matrix, rank, row, column)
    places = op.Add(op.Mul(op.Range(0, count, 1), op.Add(columns, 1)), op.Add(op.Mul(columns, row), column))
    outer = [op.Shape(matrix, end=rank - 2)] if rank > 2 else []
    flat = op.Reshape(matrix, op.Concat(*outer, op.Constant(value_ints=[-1]), axis=0))
    return op.Gather(flat, places, axis=rank - 2)


def _diagonal_scatter(x: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Take each row's element of ``src`` where the diagonal crosses the row."""
    matrix, order = _matrices(x, dim1, dim2)
    rank, row, column = len(order), max(-offset, 0), max(offset, 0)
    rows = op.Range(0, _size(matrix, rank - 2), 1)
    columns = op.Range(0, _size(matrix, rank - 1), 1)
    last = op.Sub(_length(matrix, rank, row, column), 1)
    values = op.Gather(src, op.Max(op.Min(op.Sub(rows, row), last), 0), axis=rank - 2)
    is_on_it = op.Equal(op.Unsqueeze(op.Add(rows, offset), [1]), op.Unsqueeze(columns, [0]))
    written = op.Where(is_on_it, op.Unsqueeze(values, [-1]), matrix)
    back = [order.index(at) for at in range(rank)]
    return written if order == list(range(rank)) else op.Transpose(written, perm=back)


def _trace(x: Any) -> Any:
    return op.ReduceSum(_diagonal(x), keepdims=0)


_ATEN = torch.ops.aten
TRANSLATIONS: dict[Any, Any] = {
    **dict.fromkeys((_ATEN.diagonal.default, _ATEN.diagonal_copy.default), _diagonal),
    _ATEN.diagonal_scatter.default: _diagonal_scatter,
    _ATEN.trace.default: _trace,
}
