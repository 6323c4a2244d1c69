"""CPCA: gate the channels, then every channel's positions by depthwise strips of 7, 11 and 21.

Huang et al., Computers in Biology and Medicine 2024, https://arxiv.org/abs/2306.05196, section 3.
Parameter names and arithmetic follow the authors' ``RepBlock``, which differs from the paper: the sigmoid acts on the
average's and the maximum's score alone, so that the channel gate ranges over (0, 2); one 1x1 convolution serves in
three places (before, as the spatial mixing, and after); the spatial gate has no sigmoid.
Differs: plain reductions over (h, w) instead of adaptive pooling, so that the exported graph holds for every h, w.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError

STRIPS = (7, 11, 21)


class CPCA(nn.Module):
    """Channel gate of ``channels // reduction`` hidden units, then multi-scale depthwise strips.

    Raises InputError if the reduction leaves no hidden unit.
    """

    def __init__(self, channels: int, *, reduction: int = 4) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received cpca with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        self.ca = _ChannelAttention(channels, channels // reduction)
        self.dconv5_5 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        for k in STRIPS:
            row = nn.Conv2d(channels, channels, (1, k), padding=(0, k // 2), groups=channels)
            column = nn.Conv2d(channels, channels, (k, 1), padding=(k // 2, 0), groups=channels)
            self.add_module(f"dconv1_{k}", row)
            self.add_module(f"dconv{k}_1", column)
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        x = functional.gelu(self.conv(x))
        x = x * self.ca(x)
        local: Tensor = self.dconv5_5(x)
        mixed = local
        for k in STRIPS:
            mixed = mixed + self.get_submodule(f"dconv{k}_1")(self.get_submodule(f"dconv1_{k}")(local))
        gated: Tensor = self.conv(self.conv(mixed) * x)
        return gated


class _ChannelAttention(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self._score(x.mean((2, 3), keepdim=True)) + self._score(x.amax((2, 3), keepdim=True))  # (n, c, 1, 1)

    def _score(self, pooled: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(pooled))))
