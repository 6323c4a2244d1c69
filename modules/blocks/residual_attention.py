"""Residual attention: a trunk of residual units, gated by ``1 + mask`` of a smaller, coarser branch.

Wang et al., CVPR 2017, https://arxiv.org/abs/1704.06904, eq. 3 and figure 2, p = 1, t = 2, r = 1: the attention module
of the third stage, whose mask goes down and up once (3x3 maximum pooling by 2, two units, bilinear interpolation).
It keeps the shape, unlike class-specific residual attention (https://arxiv.org/abs/2108.02456), which ends in class
scores. It is a stage's module of its own, not a gate inside a residual block.
Arithmetic follows the authors' Caffe release; parameter names follow the PyTorch port in circulation. Differs from that
port: the trunk is not added to the mask's branch, which neither the paper nor the release does, and units of equal
width have no unused ``conv4``. Differs from the release: the pooling pads by one, as PyTorch's ResNets do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError


class ResidualAttention(nn.Module):
    """Pre-activation bottleneck units of ``channels // 4``.

    Raises InputError if that leaves no channel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 4:
            raise InputError(
                f"received residual_attention on {channels} channels; expected 4 or more; choose a wider place"
            )
        self.first_residual_blocks = _Unit(channels)
        self.trunk_branches = nn.Sequential(_Unit(channels), _Unit(channels))
        self.mpool1 = nn.MaxPool2d(3, stride=2, padding=1)
        self.softmax1_blocks = nn.Sequential(_Unit(channels), _Unit(channels))
        self.softmax2_blocks = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.Sigmoid(),
        )
        self.last_blocks = _Unit(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        x = self.first_residual_blocks(x)
        trunk: Tensor = self.trunk_branches(x)
        coarse = self.softmax1_blocks(self.mpool1(x))  # (n, c, ceil(h / 2), ceil(w / 2))
        fine = functional.interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=True)
        gated: Tensor = self.last_blocks(trunk * (1 + self.softmax2_blocks(fine)))
        return gated


class _Unit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(torch.relu(self.bn1(x)))
        inner = self.conv2(torch.relu(self.bn2(inner)))
        added: Tensor = self.conv3(torch.relu(self.bn3(inner)))
        return x + added
