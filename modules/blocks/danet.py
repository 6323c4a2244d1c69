"""Dual attention: positions attend to positions and channels to channels; both are added.

Fu et al., DANet, CVPR 2019, https://arxiv.org/abs/1809.02983, eq. 1-4: ``sa`` is ``x + gamma · V softmax(Q^T K)^T``
over positions, ``sc`` is ``x + gamma · softmax(max - X X^T) X`` over channels, and the result is ``sa(x) + sc(x)``.
Parameter names follow the authors' release, whose segmentation head has the pair between 3x3 convolutions to a
quarter of the channels; those are the head's, not the block's. As there, a channel attends to the least alike.
Differs: ``softmax(-X X^T)``, which is the same function: softmax takes a constant away by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class DANet(nn.Module):
    """Queries and keys of ``channels // reduction``.

    Raises InputError if the reduction leaves no channel.
    """

    def __init__(self, channels: int, *, reduction: int = 8) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received danet with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        self.sa = _PositionAttention(channels, channels // reduction)
        self.sc = _ChannelAttention()

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        added: Tensor = self.sa(x) + self.sc(x)
        return added


class _PositionAttention(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(channels, inner, 1)
        self.key_conv = nn.Conv2d(channels, inner, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query_conv(x).flatten(2).transpose(1, 2)  # (n, hw, i)
        key = self.key_conv(x).flatten(2)  # (n, i, hw)
        attention = torch.softmax(query @ key, 2)  # (n, hw, hw), a row for each receiver
        mixed = self.value_conv(x).flatten(2) @ attention.transpose(1, 2)  # (n, c, hw)
        return x + self.gamma * torch.unflatten(mixed, 2, x.shape[2:])


class _ChannelAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2)  # (n, c, hw)
        attention = torch.softmax(-(rows @ rows.transpose(1, 2)), 2)  # (n, c, c)
        return x + self.gamma * torch.unflatten(attention @ rows, 2, x.shape[2:])
