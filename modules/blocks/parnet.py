"""ParNet's block: a 3x3, a 1x1 and a gated identity branch, added (RepVGG with skip-squeeze-and-excitation).

Goyal et al., Non-deep Networks, NeurIPS 2022, https://arxiv.org/abs/2110.07641, section 3.1 and figure 2(a):
``silu(BN(conv3(x)) + BN(conv1(x)) + z · sigmoid(W mean(z)))`` with ``z = BN(x)``.
Parameter names and the missing biases follow the authors' release. It is a whole block of ParNet's streams, not a
gate: it replaces what it stands in for.
Differs: a plain mean over (h, w) instead of adaptive pooling, so that the exported graph holds for every h, w.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional


class ParNet(nn.Module):
    """One block of a stream, at stride 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rbr_identity = nn.BatchNorm2d(channels)
        self.rbr_dense = _conv_bn(channels, 3)
        self.rbr_1x1 = _conv_bn(channels, 1)
        gate = nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, channels, 1, bias=False), act=nn.Sigmoid()))
        self.se = nn.Sequential(OrderedDict(cvsig=gate))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        identity: Tensor = self.rbr_identity(x)
        identity = identity * self.se(identity.mean((2, 3), keepdim=True))
        return functional.silu(self.rbr_dense(x) + self.rbr_1x1(x) + identity)


def _conv_bn(channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels)))
