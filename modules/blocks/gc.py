"""Global context: add to every position one vector, the attention-weighted mean of all positions, transformed.

Cao et al., GCNet, ICCV workshops 2019, https://arxiv.org/abs/1904.11492: ``x + W2 relu(LN(W1 context))``,
``context = sum of x_j · softmax_j(Wk x_j)`` over the positions j. Parameter names follow the authors' release, which
can also scale by the sigmoid of such a vector: ``fusion``. As there, the last layer starts at zero, so that a new
block changes nothing. In their ResNets it stands in stages 2 to 4 (c3 to c5), after each block's last normalisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class GlobalContext(nn.Module):
    """Transform of ``channels // reduction`` hidden channels; ``fusion`` is "add", "mul", or "both": scale, then add.

    Raises InputError if the reduction leaves no hidden channel or ``fusion`` is none of the three.
    """

    def __init__(self, channels: int, *, reduction: int = 16, fusion: str = "add") -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received gc with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        if fusion not in ("add", "mul", "both"):
            raise InputError(f"received gc with fusion {fusion!r}; expected add, mul or both; choose one of them")
        hidden = channels // reduction
        self.conv_mask = nn.Conv2d(channels, 1, 1)
        self.channel_add_conv = _transform(channels, hidden) if fusion != "mul" else None
        self.channel_mul_conv = _transform(channels, hidden) if fusion != "add" else None

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        mask = torch.softmax(self.conv_mask(x).flatten(2), 2)  # (n, 1, h·w)
        context = (x.flatten(2) @ mask.transpose(1, 2))[..., None]  # (n, c, 1, 1)
        if self.channel_mul_conv is not None:
            x = x * torch.sigmoid(self.channel_mul_conv(context))
        if self.channel_add_conv is not None:
            x = x + self.channel_add_conv(context)
        return x


def _transform(channels: int, hidden: int) -> nn.Sequential:
    last = nn.Conv2d(hidden, channels, 1)
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.LayerNorm([hidden, 1, 1]), nn.ReLU(), last)
