"""More of what is refused, with what to write in its place: none of it was tried before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from situations.situation import NOT_TRIED, PASSES, Deploy, refused, situation

BATCH = "--shape 2x4x8x8 --dynamic batch=1:2:4"
HEIGHT = "--shape 2x4x8x8 --dynamic height=4:8:16"


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 1)


@situation(
    "A Python loop over the rows of an image",
    Deploy(HEIGHT, NOT_TRIED, refused("without a Python loop")),
    Deploy(BATCH, NOT_TRIED, PASSES),
)
class LoopOverRows(Mixing):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([row.sum(-1) for row in self.mix(x).unbind(2)], 2)


@situation(
    "A branch on the values of a tensor",
    Deploy(BATCH, NOT_TRIED, refused(r"compute both sides of a branch and pick by torch\.where")),
)
class BranchOnValues(Mixing):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.mix(x)
        return y.relu() if bool((y > 0).any()) else y


@situation("NumPy in forward", Deploy(BATCH, NOT_TRIED, refused("torch in place of NumPy")))
class NumpyInside(Mixing):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.mix(x) + torch.from_numpy(x.numpy() * 2)
        return found


@situation("bfloat16 in forward", Deploy(BATCH, NOT_TRIED, refused("computes in bfloat16")))
class Bfloat16Inside(Mixing):
    def forward(self, x: Tensor) -> Tensor:
        return (self.mix(x).bfloat16() * 2).float()


@situation(
    "An antialiased resize, which opset 17 and TensorRT's parser lack",
    Deploy(BATCH, NOT_TRIED, PASSES),
    Deploy("--shape 2x4x8x8 --dynamic batch=1:2:4,height=4:8:16,width=4:8:20", NOT_TRIED, PASSES),
)
class AntialiasedResize(Mixing):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.mix(x), size=(x.shape[2] // 2, 5), mode="bilinear", antialias=True)


@situation("An input by keyword alone", Deploy(BATCH, NOT_TRIED, refused("by keyword.*wrap it in a module")))
class InputByKeyword(Mixing):
    def forward(self, x: Tensor, *, scale: Tensor) -> Tensor:
        found: Tensor = self.mix(x) * scale
        return found


@situation("No tensor among the outputs", Deploy(BATCH, NOT_TRIED, refused("returns no tensor")))
class NoOutput(Mixing):
    def forward(self, x: Tensor) -> Any:
        self.mix(x)


@situation("A fake quantisation of quantisation-aware training", Deploy(BATCH, NOT_TRIED, PASSES))
class FakeQuantised(Mixing):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(self.mix(x), 0.1, 0, -128, 127)


@situation(
    "A tensor copied onto a part of itself",
    Deploy(BATCH, NOT_TRIED, refused(r"add \.clone\(\)")),
)
class OverlappingCopy(Mixing):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.mix(x)
        y[:, :, 1:] = y[:, :, :-1]
        return y


@situation(
    "A module that torch.export has exported",
    Deploy(BATCH, NOT_TRIED, refused(r"Guard failed: input\.size\(\)\[0\] == 2")),
    Deploy("--shape 2x4x8x8", NOT_TRIED, PASSES),
)
def exported() -> nn.Module:
    return torch.export.export(nn.Conv2d(4, 4, 1), (torch.ones(2, 4, 8, 8),)).module()
