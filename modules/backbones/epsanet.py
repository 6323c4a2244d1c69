"""EPSANet: a ResNet whose 3x3 convolutions are pyramid squeeze attention.

Zhang et al., 2021, https://arxiv.org/abs/2105.14447. Parameter names follow the authors' release, which are timm's
for a ResNet. Of the large variant the release holds no code, only its table: what stands here is inferred. With a
width of 128, 32 groups everywhere and kernels whose squares add up to 108, both published counts come out (27.90 M
and 49.59 M); of such kernels, 3, 5, 5, 7 are taken. A checkpoint would tell.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..blocks.psa import PSA

LAYERS = {"epsanet50": (3, 4, 6, 3), "epsanet101": (3, 4, 23, 3)}


def create(name: str) -> nn.Module:
    """The classifier of that name, ``_large`` at its end for the large variant."""
    from timm.models.resnet import Bottleneck, ResNet

    large = name.endswith("_large")
    block: Any = Bottleneck  # timm's annotation asks for an instance
    model: nn.Module = ResNet(block, LAYERS[name.removesuffix("_large")], base_width=128 if large else 64)
    for stage in range(1, 5):
        for unit in model.get_submodule(f"layer{stage}").children():
            conv = unit.conv2
            assert isinstance(conv, nn.Conv2d)
            pyramid: dict[str, Any] = {"kernels": (3, 5, 5, 7), "groups": (32, 32, 32, 32)} if large else {}
            unit.conv2 = PSA(conv.in_channels, conv.out_channels, conv.stride[0], **pyramid)
    return model
