"""Criss-cross attention: each position attends to its row and its column; twice reaches every other.

Huang et al., CCNet, ICCV 2019, https://arxiv.org/abs/1811.11721, eq. 1-2 and section 3.3: one softmax over the
``h + w - 1`` positions of the cross, ``x + gamma · sum``, ``recurrence`` times with the same weights.
Parameter names follow the authors' release.
Differs: the two halves of the softmax are never joined, so that nothing is split by a size that varies, and the own
position is left out of the column by a product with 0 instead of an energy of minus infinity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class CrissCross(nn.Module):
    """Queries and keys of ``channels // reduction``.

    Raises InputError if the reduction leaves no channel or the recurrence is below 1.
    """

    def __init__(self, channels: int, *, reduction: int = 8, recurrence: int = 2) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received criss_cross with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        if recurrence < 1:
            raise InputError(f"received criss_cross with recurrence {recurrence}; expected 1 or more; choose 2")
        self.recurrence = recurrence
        self.query_conv = nn.Conv2d(channels, channels // reduction, 1)
        self.key_conv = nn.Conv2d(channels, channels // reduction, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        for _ in range(self.recurrence):
            x = self._attend(x)
        return x

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        row = query.permute(0, 2, 3, 1) @ key.transpose(1, 2)  # (n, h, w, w)
        column = query.permute(0, 3, 2, 1) @ key.permute(0, 3, 1, 2)  # (n, w, h, h)
        highest = torch.maximum(row.amax(3), column.amax(3).transpose(1, 2))  # (n, h, w)
        row = torch.exp(row - highest[..., None])
        index = torch.arange(x.shape[2], device=x.device)
        others = (index[:, None] != index).to(x.dtype)  # (h, h), 0 at the own position
        column = torch.exp(column - highest.transpose(1, 2)[..., None]) * others
        total = row.sum(3) + column.sum(3).transpose(1, 2)  # (n, h, w)
        along = (row @ value.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (n, c, h, w)
        across = (column @ value.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        added: Tensor = self.gamma * ((along + across) / total[:, None])
        return x + added
