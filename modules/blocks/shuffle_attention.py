"""Shuffle attention: in each group of channels, half gated by channel averages, half by normalised positions.

Zhang and Yang, SA-Net, ICASSP 2021, https://arxiv.org/abs/2102.00240: ``x1 · sigmoid(w1 mean(x1) + b1)`` and
``x2 · sigmoid(w2 GN(x2) + b2)``, joined and shuffled so that the two halves interleave. Parameter names follow the
authors' release; the groups share their parameters.
Differs: only in the groups of narrow layers, which the release's 64 do not divide.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...errors import InputError


class ShuffleAttention(nn.Module):
    """``groups`` of an even number of channels; without ``groups``, 64 or the largest of its divisors that fits.

    Raises InputError if twice the groups do not divide the channels.
    """

    def __init__(self, channels: int, *, groups: int | None = None) -> None:
        super().__init__()
        groups = max(1, math.gcd(128, channels) // 2) if groups is None else groups
        if groups < 1 or channels < 2 or channels % (2 * groups):
            raise InputError(
                f"received shuffle_attention with groups {groups} on {channels} channels; "
                "expected twice the groups to divide the channels; choose another number of groups"
            )
        half = channels // (2 * groups)
        self.groups = groups
        self.cweight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.cbias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.sweight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.sbias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.gn = nn.GroupNorm(half, half)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        grouped = torch.unflatten(x, 1, (self.groups, -1)).flatten(0, 1)  # (n·g, c/g, h, w)
        first, second = grouped.chunk(2, 1)  # (n·g, c/2g, h, w)
        first = first * torch.sigmoid(self.cweight * first.mean((2, 3), keepdim=True) + self.cbias)
        second = second * torch.sigmoid(self.sweight * self.gn(second) + self.sbias)
        joined = torch.unflatten(torch.cat((first, second), 1), 0, (-1, self.groups)).flatten(1, 2)  # (n, c, h, w)
        return torch.unflatten(joined, 1, (2, -1)).transpose(1, 2).flatten(1, 2)
