"""ECA: gate each channel by a 1-D convolution over its neighbours' global averages.

Wang et al., CVPR 2020, https://arxiv.org/abs/1910.03151, eq. 9 and 12: ``x · sigmoid(conv1d_k(mean(x)))``, k the odd
number next to ``|log2(C) + 1| / 2``. The parameter name follows the authors' release, whose networks choose k per
stage by hand; ``modules/insertion_points.py`` holds those.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...errors import InputError


class ECA(nn.Module):
    """Channel gate of one odd kernel ``k``; without ``k``, the paper's formula chooses it.

    Raises InputError if k is even or wider than twice the channels.
    """

    def __init__(self, channels: int, *, k: int | None = None) -> None:
        super().__init__()
        kernel = kernel_for(channels) if k is None else k
        if kernel < 1 or kernel % 2 == 0 or kernel >= 2 * channels:
            raise InputError(
                f"received eca with k {kernel} on {channels} channels; expected an odd number below {2 * channels}; "
                "choose 3, 5 or 7"
            )
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        mean = x.mean((2, 3))  # (n, c)
        gate = torch.sigmoid(self.conv(mean[:, None]))  # (n, 1, c)
        return x * gate[:, 0, :, None, None]


def kernel_for(channels: int) -> int:
    """The paper's eq. 12 with gamma 2 and b 1, rounded as in the release."""
    floor = int(abs((math.log2(channels) + 1) / 2))
    return floor if floor % 2 else floor + 1
