"""Convolutions of large batches in float64, a few rows at a time.

PyTorch has no kernel of its own for them: it copies the windows of all rows that it is given next to each other, nine
times the image for a 3x3 kernel, and multiplies. Rows of a convolution never meet, so that fewer at a time give the
same digits out of less memory, which the caches hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Of the windows of the rows that are convolved at a time, unless one row for each thread has more.
MOST_BYTES = 8 * 2**20


def convolved(func: Any, args: Sequence[Any]) -> torch.Tensor | None:
    """Return what a convolution gives if the windows of its batch are too many at a time; else None.

    ``args`` are those of ``aten.convolution``: the batch, its weights, the bias, ...
    """
    import torch

    if func is not torch.ops.aten.convolution.default or args[0].dtype != torch.float64:
        return None
    batch, weights, is_transposed, groups = *args[:2], args[6], args[8]
    if is_transposed or groups != 1 or batch.ndim != weights.ndim or weights.shape[2:].numel() == 1:
        return None
    windows = weights.shape[1:].numel() * batch.shape[2:].numel() * batch.element_size()
    rows = max(torch.get_num_threads(), MOST_BYTES // max(windows, 1))
    if rows >= len(batch):
        return None
    return torch.cat([func(some, *args[1:]) for some in batch.split(rows)])
