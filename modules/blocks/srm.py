"""SRM: gate each channel by its own mean and standard deviation, its style.

Lee et al., Style-based Recalibration Module, ICCV 2019, https://arxiv.org/abs/1903.10829, section 3:
``x · sigmoid(BN(w1 · mean + w2 · std))``, two weights per channel. Parameter names follow the authors' release, and so
does the standard deviation over ``h·w - 1``; the paper divides by ``h·w``: at one position it is undefined.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SRM(nn.Module):
    """Channel gate of two weights and a batch normalisation per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cfc = nn.Parameter(torch.zeros(channels, 2))
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``; more than one position."""
        style = torch.stack((x.mean((2, 3)), x.std((2, 3))), 2)  # (n, c, 2)
        score = (style * self.cfc).sum(2)[:, :, None, None]  # (n, c, 1, 1)
        return x * torch.sigmoid(self.bn(score))
