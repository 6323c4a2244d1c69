"""Inputs that are no float32 image: masks, sizes, bytes, channels last."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from situations.situation import PASSES, Deploy, refused, situation

DARKNETS = ("https://github.com/ultralytics/ultralytics/pull/22118", "https://github.com/open-mmlab/mmyolo/pull/742")


@situation(
    "A boolean mask for F.scaled_dot_product_attention, which may hide a whole row",
    "https://github.com/microsoft/onnxscript/pull/2654",
    "https://github.com/pytorch/pytorch/issues/26098",
    Deploy(
        "--shape x=2x10x16 --shape mask=2x1x10:bool --dynamic batch=1:2:4",
        "the verdict failed: NaN, or the mean of all values; eager gives 0",
        PASSES,
    ),
)
class MaskedAttention(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x.tanh(), x, attn_mask=mask)


@situation(
    "nn.MultiheadAttention with a boolean mask of a dynamic length",
    "https://github.com/pytorch/pytorch/issues/120075",
    "https://github.com/pytorch/pytorch/issues/122321",
    "https://github.com/pytorch/pytorch/issues/148886",
    Deploy(
        "--shape x=12x2x32 --shape mask=12x12:bool --dynamic x.dim0=3:12:40,mask.dim0=x.dim0,mask.dim1=x.dim0",
        "not possible: no axis could be tied to another",
        PASSES,
    ),
    Deploy("--shape x=12x2x32 --shape mask=12x12:bool", "passed", PASSES),
)
class MaskedHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(32, 4)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = self.heads(x, x, x, attn_mask=mask, need_weights=False)[0]
        return found


IMAGE_AND_SIZE = "--shape image=2x3x16x16 --shape size=2"


@situation(
    "A second input of two numbers, the size of the original image, which is no batch and is divided by",
    "https://github.com/facebookresearch/segment-anything/issues/425",
    Deploy(
        f"{IMAGE_AND_SIZE} --dynamic batch",
        "refused: received size=1, IndexError; change --shape",
        refused(r"image\.batch", "name the batch of the image alone: --dynamic image.batch=1:2:16"),
    ),
    Deploy(
        f"{IMAGE_AND_SIZE}:float32[1,9] --dynamic image.batch=1:2:4",
        "refused: a float input could have no range; without one, the verdict failed on zeros",
        PASSES,
    ),
)
class ScaledToOriginal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 1)

    def forward(self, image: Tensor, size: Tensor) -> Tensor:
        found: Tensor = self.mix(image) * (size[0] / size[1])
        return found


@situation(
    "Bytes with the channels last, normalised and permuted inside of the module",
    *DARKNETS,
    "https://github.com/NVIDIA/TensorRT/issues/4373",
    "https://github.com/NVIDIA/TensorRT/issues/3914",
    Deploy(
        "--shape image=2x32x40x3:uint8 --dynamic batch",
        "refused: did you mean int64 or int32, though TensorRT takes uint8",
        PASSES,
    ),
    Deploy(
        "--shape image=2x32x40x3:uint8 --layout nhwc --dynamic batch=1:2:4,height=16:32:64,width=16:40:64",
        "refused: no layout could be given, and height meant axis 2",
        PASSES,
    ),
    Deploy(
        "--shape image=2x32x40x3:int32[0,255] --dynamic batch=1:2:4,dim1=16:32:64,dim2=16:40:64",
        "refused: expected batch or height or width",
        PASSES,
    ),
)
class BytesChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(of).view(3, 1, 1) for of in ((0.48, 0.45, 0.4), (0.23, 0.22, 0.22)))
        planes = image.permute(0, 3, 1, 2).float() / 255.0
        found: Tensor = self.stem((planes - mean) / deviation)
        return found
