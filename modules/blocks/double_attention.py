"""Double attention: gather a few descriptors from all positions, then hand each position its own mixture of them.

Chen et al., A2-Nets, NeurIPS 2018, https://arxiv.org/abs/1810.11579, section 3:
``x + W [A softmax(B)^T] softmax(V)``, the softmax of B over the positions and that of V over the descriptors.
The authors' release holds no PyTorch code; parameter names follow the port in circulation. Differs from that port,
which takes both softmaxes over the descriptors and leaves out the residual addition: here the paper holds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import InputError


class DoubleAttention(nn.Module):
    """``channels // reduction`` descriptors of as many features; ``residual`` adds the input.

    Raises InputError if the reduction leaves no channel.
    """

    def __init__(self, channels: int, *, reduction: int = 4, residual: bool = True) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise InputError(
                f"received double_attention with reduction {reduction} on {channels} channels; "
                f"expected 1 <= reduction <= {channels}; choose another reduction"
            )
        inner = channels // reduction
        self.residual = residual
        self.convA = nn.Conv2d(channels, inner, 1)
        self.convB = nn.Conv2d(channels, inner, 1)
        self.convV = nn.Conv2d(channels, inner, 1)
        self.conv_reconstruct = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        gathering = torch.softmax(self.convB(x).flatten(2), 2)  # (n, i, hw), over the positions
        descriptors = self.convA(x).flatten(2) @ gathering.transpose(1, 2)  # (n, i, i)
        distribution = torch.softmax(self.convV(x).flatten(2), 1)  # (n, i, hw), over the descriptors
        mixed = torch.unflatten(descriptors @ distribution, 2, x.shape[2:])
        added: Tensor = self.conv_reconstruct(mixed)
        return x + added if self.residual else added
