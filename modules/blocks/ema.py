"""EMA: in each group of channels, two views of the input weigh each other's positions.

Ouyang et al., ICASSP 2023, https://arxiv.org/abs/2305.13563: one view gated by its row and column means through a
shared 1x1 convolution and normalised, the other a 3x3 convolution; each one's global means, softmaxed over the
group's channels, weigh the other's channels; the sigmoid of the two sums gates the group. Parameter names follow the
authors' release; the groups share their parameters. Since the normalisation leaves every channel at its bias on
average, one of the two softmaxes is that of ``gn.bias`` for every input, in the release too.
Differs: plain means instead of adaptive pooling, whose kernel the torch.export-based ONNX exporter bakes at the
traced size (pytorch#147720); the 1x1 convolution runs on rows, then on columns, instead of on their concatenation;
and fewer groups for layers that the release's 32 do not divide.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...errors import InputError


class EMA(nn.Module):
    """``factor`` groups of channels; without it, 32 or the largest of its divisors that leaves two channels a group.

    Raises InputError if the factor does not divide the channels.
    """

    def __init__(self, channels: int, *, factor: int | None = None) -> None:
        super().__init__()
        groups = max(1, math.gcd(64, channels) // 2) if factor is None else factor
        if groups < 1 or channels < 1 or channels % groups:
            raise InputError(
                f"received ema with factor {groups} on {channels} channels; expected a divisor of {channels}; "
                "choose 8, 16 or 32"
            )
        width = channels // groups
        self.groups = groups
        self.gn = nn.GroupNorm(width, width)
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        grouped = torch.unflatten(x, 1, (self.groups, -1)).flatten(0, 1)  # (n·g, c/g, h, w)
        rows = torch.sigmoid(self.conv1x1(grouped.mean(3, keepdim=True)))  # (n·g, c/g, h, 1)
        columns = torch.sigmoid(self.conv1x1(grouped.mean(2, keepdim=True)))  # (n·g, c/g, 1, w)
        along = self.gn(grouped * rows * columns)
        around = self.conv3x3(grouped)
        weights = (_channel_weights(along) * around + _channel_weights(around) * along).sum(1, keepdim=True)
        gated = grouped * torch.sigmoid(weights)
        return torch.unflatten(gated, 0, (-1, self.groups)).flatten(1, 2)


def _channel_weights(x: Tensor) -> Tensor:
    return torch.softmax(x.mean((2, 3), keepdim=True), 1)  # (n·g, c/g, 1, 1)
