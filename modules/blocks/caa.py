"""CAA: gate every position by a local mean that is spread along its row and its column.

Cai et al., PKINet, CVPR 2024, https://arxiv.org/abs/2403.06258:
``x · sigmoid(conv1x1(dw_kx1(dw_1xk(conv1x1(mean7x7(x))))))``, dw depthwise, the mean counting zeros beyond the rim.
Parameter names follow the authors' release, whose networks use the 1x1 convolutions plain, with a bias; its class on
its own defaults to a batch normalisation and SiLU after each: ``norm``. In PKINet the gate is computed from the input
of the multi-kernel convolutions and multiplies their output, k growing from 11 by 2 with each block of a stage.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class CAA(nn.Module):
    """Gate of a 7x7 mean and a row and a column convolution of an odd ``kernel``.

    Raises InputError if the kernel is even.
    """

    def __init__(self, channels: int, *, kernel: int = 11, norm: bool = False) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"received caa with kernel {kernel}; expected an odd number; choose 11")
        half = kernel // 2
        self.avg_pool = nn.AvgPool2d(7, stride=1, padding=3)
        self.conv1 = _pointwise(channels, norm)
        self.h_conv = _named(conv=nn.Conv2d(channels, channels, (1, kernel), padding=(0, half), groups=channels))
        self.v_conv = _named(conv=nn.Conv2d(channels, channels, (kernel, 1), padding=(half, 0), groups=channels))
        self.conv2 = _pointwise(channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        spread = self.v_conv(self.h_conv(self.conv1(self.avg_pool(x))))
        gate = torch.sigmoid(self.conv2(spread))  # (n, c, h, w)
        return x * gate


def _pointwise(channels: int, norm: bool) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 1, bias=not norm)
    return _named(conv=conv, bn=nn.BatchNorm2d(channels, 1e-3, 0.03), activate=nn.SiLU()) if norm else _named(conv=conv)


def _named(**parts: nn.Module) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, part in parts.items():
        sequence.add_module(name, part)
    return sequence
