"""GAM: gate every channel at every position by an MLP over the channels, then by two 7x7 convolutions.

Liu et al., 2021, https://arxiv.org/abs/2112.05561, eq. 1-2. Parameter names follow the code in circulation, which
has no sigmoid after the channel MLP although the paper's figure 2 has: ``channel_gate`` chooses. ``groups`` above 1
is the paper's cheaper form for large networks: grouped convolutions and a channel shuffle of the spatial gate.
Differs: the MLP acts on the last axis of a permuted tensor and the shuffle is a gather; no reshape by a size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class GAM(nn.Module):
    """Channel attention, then spatial attention, both through ``channels // rate`` hidden channels.

    Raises InputError if the rate leaves no hidden channel, the groups do not divide both widths, or
    ``channel_gate`` is neither "none" nor "sigmoid".
    """

    shuffle: Tensor

    def __init__(self, channels: int, *, rate: int = 4, groups: int = 1, channel_gate: str = "none") -> None:
        super().__init__()
        if not 1 <= rate <= channels:
            raise InputError(
                f"received gam with rate {rate} on {channels} channels; expected 1 <= rate <= {channels}; "
                "choose another rate"
            )
        hidden = channels // rate
        if groups < 1 or channels % groups or hidden % groups:
            raise InputError(
                f"received gam with groups {groups}; expected a divisor of {channels} and of {hidden}, "
                "the channels and the hidden channels; choose 1 or 4"
            )
        if channel_gate not in ("none", "sigmoid"):
            raise InputError(
                f"received gam with channel_gate {channel_gate!r}; expected none or sigmoid; choose one of them"
            )
        self.gated = channel_gate == "sigmoid"
        self.groups = groups
        self.channel_attention = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )
        self.spatial_attention = nn.Sequential(
            nn.Conv2d(channels, hidden, 7, padding=3, groups=groups),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 7, padding=3, groups=groups),
            nn.BatchNorm2d(channels),
        )
        order = torch.arange(channels).reshape(groups, channels // groups).T.reshape(-1)
        self.register_buffer("shuffle", order, persistent=False)  # not in the releases' checkpoints

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        channel = self.channel_attention(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (n, c, h, w)
        x = x * (torch.sigmoid(channel) if self.gated else channel)
        spatial = torch.sigmoid(self.spatial_attention(x))  # (n, c, h, w)
        if self.groups > 1:
            spatial = spatial.index_select(1, self.shuffle)
        return x * spatial
