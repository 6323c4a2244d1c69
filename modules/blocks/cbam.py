"""CBAM: gate the channels by their average and maximum, then the positions by theirs.

Woo et al., ECCV 2018, https://arxiv.org/abs/1807.06521, eq. 2-3: one MLP shared by the average and the maximum,
then a convolution over [max, mean], each closed by a sigmoid.
Parameter names and the batch normalisation after the spatial convolution follow the authors' release.
Differs: plain reductions over (h, w) instead of pooling with the input's size as its kernel, which both ONNX
exporters bake or refuse (pytorch#39323).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class CBAM(nn.Module):
    """``ChannelGate`` of ``channels // reduction`` hidden units, then ``SpatialGate`` of an odd ``kernel``.

    Raises InputError if the reduction leaves no hidden unit or the kernel is even.
    """

    def __init__(self, channels: int, *, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received cbam with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"received cbam with kernel {kernel}; expected an odd number; choose 3 or 7")
        self.ChannelGate = _ChannelGate(channels, channels // reduction)
        self.SpatialGate = _SpatialGate(kernel)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        x = x * self.ChannelGate(x)
        gated: Tensor = x * self.SpatialGate(x)
        return gated


class _ChannelGate(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        # index 0 is the release's Flatten: the reductions below leave nothing to flatten, the indices must stay
        self.mlp = nn.Sequential(nn.Identity(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))  # (n, c)
        return gate[:, :, None, None]


class _SpatialGate(nn.Module):
    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential()
        self.spatial.add_module("conv", nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False))
        self.spatial.add_module("bn", nn.BatchNorm2d(1, momentum=0.01))

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), 1)  # (n, 2, h, w)
        return torch.sigmoid(self.spatial(pooled))  # (n, 1, h, w)
