"""BAM: add to the input what a channel branch and a dilated spatial branch agree on.

Park et al., BMVC 2018, https://arxiv.org/abs/1807.06514, eq. 1-4: ``x · (1 + sigmoid(channel ∘ spatial))``.
Parameter names follow the authors' release, which multiplies the two branches, while the paper's eq. 2 adds them
(``combine`` chooses) and normalises inside the branches, not after them. In their ResNets it stands between stages,
once after each of the first three.
Differs: a plain mean instead of pooling with the input's height as a square kernel, which holds for square inputs of
one size only; and no expansion of the branches to the full shape before they meet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class BAM(nn.Module):
    """Both branches go through ``channels // reduction`` channels; ``dilation`` is that of the spatial 3x3 pair.

    Raises InputError if the reduction leaves no hidden channel, the dilation is below 1, or ``combine`` is neither
    "product" nor "sum".
    """

    def __init__(self, channels: int, *, reduction: int = 16, dilation: int = 4, combine: str = "product") -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received bam with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        if dilation < 1:
            raise InputError(f"received bam with dilation {dilation}; expected 1 or more; choose 4")
        if combine not in ("product", "sum"):
            raise InputError(f"received bam with combine {combine!r}; expected product or sum; choose one of them")
        self.product = combine == "product"
        self.channel_att = _ChannelGate(channels, channels // reduction)
        self.spatial_att = _SpatialGate(channels, channels // reduction, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        channel, spatial = self.channel_att(x), self.spatial_att(x)  # (n, c, 1, 1), (n, 1, h, w)
        gated: Tensor = x * (1 + torch.sigmoid(channel * spatial if self.product else channel + spatial))
        return gated


class _ChannelGate(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gate_c = nn.Sequential()
        self.gate_c.add_module("gate_c_fc_0", nn.Linear(channels, hidden))
        self.gate_c.add_module("gate_c_bn_1", nn.BatchNorm1d(hidden))
        self.gate_c.add_module("gate_c_relu_1", nn.ReLU())
        self.gate_c.add_module("gate_c_fc_final", nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate_c(x.mean((2, 3)))  # (n, c)
        return gate[:, :, None, None]


class _SpatialGate(nn.Module):
    def __init__(self, channels: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.gate_s = nn.Sequential()
        self.gate_s.add_module("gate_s_conv_reduce0", nn.Conv2d(channels, hidden, 1))
        self.gate_s.add_module("gate_s_bn_reduce0", nn.BatchNorm2d(hidden))
        self.gate_s.add_module("gate_s_relu_reduce0", nn.ReLU())
        for index in range(2):
            conv = nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)
            self.gate_s.add_module(f"gate_s_conv_di_{index}", conv)
            self.gate_s.add_module(f"gate_s_bn_di_{index}", nn.BatchNorm2d(hidden))
            self.gate_s.add_module(f"gate_s_relu_di_{index}", nn.ReLU())
        self.gate_s.add_module("gate_s_conv_final", nn.Conv2d(hidden, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate_s(x)  # (n, 1, h, w)
        return gate
