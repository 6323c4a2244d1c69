"""Non-local block: every position receives a weighted mean of all the others, by likeness.

Wang et al., CVPR 2018, https://arxiv.org/abs/1711.07971, eq. 1, 3 and 6, embedded Gaussian:
``x + BN(W softmax(theta(x)^T phi(x)) g(x))``, with half the channels inside.
Parameter names follow the PyTorch port in circulation, as does its 2x2 maximum pooling of ``g`` and ``phi``
(``sub_sample``, section 3.3 of the paper, a quarter of the pairs); without it their keys lose the ``.0``.
The authors' own release is in Caffe2. In its ResNet-50 five blocks stand between residual units, after every
second one of stages 2 and 3; in its ResNet-101 after every second one of stage 2 and every seventh of stage 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class NonLocal(nn.Module):
    """``channels // reduction`` channels inside; ``sub_sample`` needs two rows and two columns.

    Raises InputError if the reduction leaves no channel.
    """

    def __init__(self, channels: int, *, reduction: int = 2, sub_sample: bool = True) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received non_local with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        inner = channels // reduction
        self.g: nn.Module = nn.Conv2d(channels, inner, 1)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi: nn.Module = nn.Conv2d(channels, inner, 1)
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)  # the block starts as the identity
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), norm)
        if sub_sample:
            self.g = nn.Sequential(self.g, nn.MaxPool2d(2))
            self.phi = nn.Sequential(self.phi, nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        query = self.theta(x).flatten(2).transpose(1, 2)  # (n, hw, i)
        key = self.phi(x).flatten(2)  # (n, i, k)
        value = self.g(x).flatten(2).transpose(1, 2)  # (n, k, i)
        mixed = torch.softmax(query @ key, 2) @ value  # (n, hw, i)
        added: Tensor = self.W(torch.unflatten(mixed.transpose(1, 2), 2, x.shape[2:]))
        return x + added
