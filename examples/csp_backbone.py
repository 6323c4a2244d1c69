"""A detection backbone in the style of YOLO, with attention before each of its three outputs.

Cross-stage partial stages (Wang et al., CSPNet, https://arxiv.org/abs/1911.11929): half of the channels pass by, the
other half runs through bottlenecks, and every intermediate result is concatenated. Deployed from this folder, at any
batch, height and width, by

    attn2trt deploy py:csp_backbone:make --shape 2x3x128x128 --dynamic batch,height,width --checkpoint weights.pt

The factory's weights are never touched, so that without a checkpoint the verdict is about fresh ones, and says so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn2trt.modules.blocks.cbam import CBAM
from attn2trt.modules.blocks.coord_att import CoordAtt
from attn2trt.modules.blocks.eca import ECA


def conv(given: int, made: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, SiLU."""
    return nn.Sequential(
        nn.Conv2d(given, made, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(made), nn.SiLU()
    )


class CspStage(nn.Module):
    """Halves the size, then ``count`` bottlenecks on half of the channels."""

    def __init__(self, given: int, made: int, count: int) -> None:
        super().__init__()
        half = made // 2
        self.down = conv(given, made, 3, 2)
        self.enter = conv(made, made)
        self.bottlenecks = nn.ModuleList(nn.Sequential(conv(half, half, 3), conv(half, half, 3)) for _ in range(count))
        self.leave = conv((2 + count) * half, made)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, given, h, w)`` to ``(n, made, h/2, w/2)``."""
        parts = list(self.enter(self.down(x)).chunk(2, 1))
        for bottleneck in self.bottlenecks:
            parts.append(parts[-1] + bottleneck(parts[-1]))
        out: Tensor = self.leave(torch.cat(parts, 1))
        return out


class PyramidPooling(nn.Module):
    """The map beside its maxima over windows of 5, 9 and 13, each taken from the one before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = conv(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = conv(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, h, w)`` to ``(n, c, h, w)``."""
        maps = [self.enter(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        out: Tensor = self.leave(torch.cat(maps, 1))
        return out


class CspBackbone(nn.Module):
    """``(n, 3, h, w)`` to maps of ``4 * width``, ``8 * width`` and ``16 * width`` channels at 1/8, 1/16 and 1/32."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = conv(3, width, 3, 2)
        self.stage2 = CspStage(width, 2 * width, 1)
        self.stage3 = CspStage(2 * width, 4 * width, 2)
        self.stage4 = CspStage(4 * width, 8 * width, 1)
        self.stage5 = CspStage(8 * width, 16 * width, 1)
        self.pooling = PyramidPooling(16 * width)
        self.attention3 = ECA(4 * width)
        self.attention4 = CoordAtt(8 * width)
        self.attention5 = CBAM(16 * width)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three maps, the largest first, for a head that detects."""
        p3 = self.attention3(self.stage3(self.stage2(self.stem(image))))
        p4 = self.attention4(self.stage4(p3))
        p5 = self.attention5(self.pooling(self.stage5(p4)))
        return p3, p4, p5


def make() -> CspBackbone:
    """Return the module that ``py:csp_backbone:make`` deploys."""
    return CspBackbone()
