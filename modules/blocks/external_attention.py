"""External attention: every position attends to a small learned memory, the same for all images.

Guo et al., IEEE TPAMI 2022, https://arxiv.org/abs/2105.02358, algorithm 1: two linear memories of S slots
and a double normalisation, softmax over the positions, then shares over the slots.
Parameter names and the block around it (1x1 convolution before, 1x1 convolution and batch normalisation after, the
input added, ReLU) follow the authors' release, ``model_torch.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class ExternalAttention(nn.Module):
    """A memory of ``slots`` rows.

    Raises InputError if there is no slot.
    """

    def __init__(self, channels: int, *, slots: int = 64) -> None:
        super().__init__()
        if slots < 1:
            raise InputError(f"received external_attention with slots {slots}; expected 1 or more; choose 64")
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.linear_0 = nn.Conv1d(channels, slots, 1, bias=False)
        self.linear_1 = nn.Conv1d(slots, channels, 1, bias=False)
        self.conv2 = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        attention = torch.softmax(self.linear_0(self.conv1(x).flatten(2)), 2)  # (n, slots, hw)
        attention = attention / (1e-9 + attention.sum(1, keepdim=True))
        mixed = torch.unflatten(self.linear_1(attention), 2, x.shape[2:])  # (n, c, h, w)
        return torch.relu(x + self.conv2(mixed))
