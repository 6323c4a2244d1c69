"""scSE: channel squeeze-and-excitation and a spatial gate side by side, the larger of the two results.

Roy et al., IEEE TMI 2019, https://arxiv.org/abs/1808.08127 (MICCAI 2018, https://arxiv.org/abs/1803.02579):
``max(x · sigmoid(W2 relu(W1 mean(x))), x · sigmoid(conv1x1(x)))``. Parameter names follow the authors' release, which
takes the maximum; ``combine`` also has the papers' sum and product. In their U-shaped networks it follows every
encoder and decoder block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class ScSE(nn.Module):
    """Channel branch of ``channels // reduction`` hidden units beside a 1x1 spatial gate.

    Raises InputError if the reduction leaves no hidden unit, or ``combine`` is none of "max", "add" and "mul".
    """

    def __init__(self, channels: int, *, reduction: int = 2, combine: str = "max") -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received scse with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        if combine not in ("max", "add", "mul"):
            raise InputError(f"received scse with combine {combine!r}; expected max, add or mul; choose one of them")
        self.combine = combine
        self.cSE = _ChannelGate(channels, channels // reduction)
        self.sSE = _SpatialGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        channel, spatial = x * self.cSE(x), x * self.sSE(x)
        if self.combine == "max":
            return torch.maximum(channel, spatial)
        combined: Tensor = channel + spatial if self.combine == "add" else channel * spatial
        return combined


class _ChannelGate(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3))))))  # (n, c)
        return gate[:, :, None, None]


class _SpatialGate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(x))  # (n, 1, h, w)
