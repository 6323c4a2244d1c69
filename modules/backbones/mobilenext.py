"""MobileNeXt: sandglass blocks, wide at both ends and narrow in the middle, depthwise convolutions at the wide ends.

Zhou et al., ECCV 2020, https://arxiv.org/abs/2007.02269, table 3. Parameter names and the structure follow the
authors' release (``mnext``), which departs from the paper's figure if the width changes: but for the first, the
second and the last block, a block that widens has no depthwise convolution at its entrance, and none at its exit
either if it keeps the size.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

# reduction of the narrow middle, output channels, blocks, stride of the first
STAGES = (
    (2, 96, 1, 2),
    (6, 144, 1, 1),
    (6, 192, 3, 2),
    (6, 288, 3, 2),
    (6, 384, 4, 1),
    (6, 576, 4, 2),
    (6, 960, 3, 1),
    (6, 1280, 1, 1),
)


class Sandglass(nn.Module):
    """``conv`` with the shortcut around it if ``shortcut``; ``enters`` and ``leaves`` are its depthwise ends."""

    def __init__(
        self, given: int, made: int, stride: int, reduction: int, *, enters: bool, leaves: bool, shortcut: bool
    ) -> None:
        super().__init__()
        self.enters, self.shortcut = enters, shortcut
        narrow = given // reduction
        if narrow < made / 6:
            narrow = _multiple(math.ceil(made / 6), 16)
        layers: list[nn.Module] = []
        if enters:
            layers += [*_conv(given, given, 3, groups=given), nn.ReLU6()]
        layers += [*_conv(given, narrow), *_conv(narrow, made), nn.ReLU6()]
        if leaves:
            layers += _conv(made, made, 3, stride, groups=made)
        self.conv = nn.Sequential(*layers)
        last = layers[-1]
        if shortcut and isinstance(last, nn.BatchNorm2d):  # starts as the shortcut alone, as timm's branches do
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out + x if self.shortcut else out


class MobileNeXt(nn.Module):
    """A classifier of 1000 classes; ``stages`` holds the stage of every module of ``features``, from 1."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*_conv(3, 32, 3, 2), nn.ReLU6())]
        self.stages = [0]
        channels = 32
        for stage, (reduction, made, count, stride) in enumerate(STAGES, 1):
            whole = reduction == 2 or (count == 1 and stride == 1)
            layers.append(
                Sandglass(channels, made, stride, reduction, enters=whole, leaves=whole or stride == 2, shortcut=False)
            )
            layers += [
                Sandglass(made, made, 1, reduction, enters=True, leaves=True, shortcut=True) for _ in range(1, count)
            ]
            self.stages += [stage] * count
            channels = made
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, 1000))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 3, h, w)`` to ``(n, 1000)``."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def _conv(given: int, made: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(given, made, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(made),
    ]


def _multiple(number: int, divisor: int) -> int:
    """The nearest multiple, not more than a tenth below."""
    nearest = max(divisor, (number + divisor // 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * number else nearest + divisor


def create(name: str) -> nn.Module:
    """The network of width 1.0, whatever the name."""
    del name
    return MobileNeXt()
