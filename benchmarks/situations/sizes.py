"""Sizes that vary: sets that are no progression, sizes that become numbers, axes that depend on each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from situations.situation import PASSES, Deploy, refused, situation

NECK = "https://github.com/open-mmlab/mmdetection/pull/2157"
PYRAMID = "--shape 2x3x64x96 --dynamic batch=1:2:4,height=32:64:128,width=32:96:128"
FALSE_BRANCH = "refused: holds only for height 32, 35, 36, 39, …; remove the branch, and there is none"


@situation(
    "A detector's neck: stride-2 convolutions down, nn.Upsample up, torch.cat, at a dynamic height and width",
    "https://github.com/ultralytics/yolov5/issues/7268",
    "https://github.com/ultralytics/ultralytics/issues/21297",
    "https://github.com/meituan/YOLOv6/pull/680",
    NECK,
    Deploy(PYRAMID, FALSE_BRANCH, PASSES),
    Deploy("--shape 2x3x64x96 --dynamic batch=1:2:4", "passed", PASSES),
)
class DetectorNeck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deeper = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 10, 3, 2, 1)
        self.up, self.join = nn.Upsample(scale_factor=2), nn.Conv2d(16, 6, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.stem(image).relu()
        joined: Tensor = self.join(torch.cat([fine, self.up(self.deeper(fine))], 1))
        return joined


@situation(
    "The same of convolutions that cut patches, whose sizes are rounded down",
    NECK,
    "https://github.com/ultralytics/yolov5/issues/7268",
    Deploy(PYRAMID, FALSE_BRANCH, PASSES),
)
class PatchNeck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deeper = nn.Conv2d(3, 6, 2, 2), nn.Conv2d(6, 6, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.stem(image)
        return fine * F.interpolate(self.deeper(fine), scale_factor=2.0, mode="nearest").sigmoid()


@situation(
    "One level of a pyramid and nothing else: two poolings, one upsampling, one sum",
    NECK,
    Deploy("--shape 2x3x64x96 --dynamic height=32:64:128,width=32:96:128", FALSE_BRANCH, PASSES),
)
class OneLevel(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        half = F.avg_pool2d(image, 2)
        return half - F.interpolate(F.max_pool2d(half, 2), scale_factor=2.0)


class PaddedAlike(nn.Module):
    """A depthwise convolution whose padding is computed from the sizes, as TensorFlow's "same" is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 3, groups=channels, bias=False)
        self.mix, self.norm = nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        rows, columns = (math.ceil(size / 1) - 1 + 3 - size for size in (height, width))
        padded = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        mixed: Tensor = self.norm(self.mix(self.spatial(padded)))
        return mixed


@situation(
    "BiFPN: learned weights that add up to one, padding computed by math.ceil, upsampling by a factor",
    "https://github.com/zylo117/Yet-Another-EfficientDet-Pytorch/issues/454",
    NECK,
    Deploy(PYRAMID, FALSE_BRANCH, PASSES),
)
class WeightedPyramid(nn.Module):
    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(given, channels, 3, 2, 1) for given in (3, channels, channels))
        self.weights = nn.Parameter(torch.tensor([[0.8, 1.1], [-0.4, 0.9]]))
        self.top_down, self.bottom_up = PaddedAlike(channels), PaddedAlike(channels)

    def fuse(self, weights: Tensor, one: Tensor, other: Tensor) -> Tensor:
        shares = weights.relu() / (weights.relu().sum() + 1e-4)
        return F.silu(shares[0] * one + shares[1] * other)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.levels[1](self.levels[0](image))
        coarse = self.levels[2](fine)
        fine = self.top_down(self.fuse(self.weights[0], fine, F.interpolate(coarse, scale_factor=2.0)))
        return fine, self.bottom_up(self.fuse(self.weights[1], coarse, F.max_pool2d(fine, 3, 2, 1)))


@situation(
    "A neck exported by itself: three maps whose sizes are in the ratio 4 to 2 to 1",
    "https://github.com/ultralytics/ultralytics/issues/21297",
    NECK,
    Deploy(
        "--shape a=2x8x32x48 --shape b=2x8x16x24 --shape c=2x8x8x12 --dynamic batch=1:2:4,a.height=16:32:64:4,"
        "b.height=a.height/2,c.height=a.height/4,a.width=16:48:64:4,b.width=a.width/2,c.width=a.width/4",
        "refused: no syntax ties one axis to another",
        PASSES,
    ),
    Deploy(
        "--shape a=2x8x32x48 --shape b=2x8x16x24 --shape c=2x8x8x12 --dynamic batch,height,width",
        "refused, without how to say it",
        refused(r"tie others to it: a\.height,b\.height=a\.height/2,c\.height=a\.height/4"),
    ),
)
class NeckAlone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.middle, self.fine = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1)

    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        middle = self.middle(torch.cat([F.interpolate(c, scale_factor=2.0), b], 1))
        return self.fine(torch.cat([F.interpolate(middle, scale_factor=2.0), a], 1)), middle


class Windowed(nn.Module):
    """Takes the mean of each window away, on maps with the channels last; ``side`` divides what it is given."""

    def __init__(self, channels: int = 8, side: int = 4) -> None:
        super().__init__()
        self.side, self.mix = side, nn.Linear(channels, channels)

    def missing(self, size: int) -> int:
        return (self.side - size % self.side) % self.side

    def centred(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        cut = x.reshape(n, height // self.side, self.side, width // self.side, self.side, channels)
        centred = (cut - cut.mean((2, 4), keepdim=True)).reshape(n, height, width, channels)
        mixed: Tensor = self.mix(centred)
        return mixed


@situation(
    "Padded to whole windows and cropped `if pad > 0`: a branch that compares a size",
    Deploy("--shape 2x8x32x32 --dynamic batch,height,width", "passed, narrowed to multiples of 4", PASSES),
)
class CropsIfPositive(Windowed):
    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        height, width = x.shape[1:3]
        below, beside = self.missing(height), self.missing(width)
        y = F.pad(x, (0, 0, 0, beside, 0, below)) if below > 0 or beside > 0 else x
        y = self.centred(y)
        if below > 0 or beside > 0:
            y = y[:, :height, :width]
        return y.permute(0, 3, 1, 2)


@situation(
    "The same with `if pad:`, a branch on the truth of a size",
    Deploy("--shape 2x8x32x32 --dynamic batch,height,width", "export wrote a graph that is wrong at 35", PASSES),
)
class CropsIfTrue(Windowed):
    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        height, width = x.shape[1:3]
        below, beside = self.missing(height), self.missing(width)
        y = self.centred(F.pad(x, (0, 0, 0, beside, 0, below)))
        if below or beside:
            y = y[:, :height, :width]
        return y.permute(0, 3, 1, 2)


@situation(
    "The batch is taken by len(x), as the queries of RT-DETR are prepared",
    "https://github.com/NVIDIA/TensorRT/issues/4813",
    "https://github.com/huggingface/optimum/issues/1810",
    Deploy("--shape 2x6x8 --dynamic batch=1:2:4", "refused: fixes the axis 'batch' at 2", PASSES),
)
class BatchByLength(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(5, 8))

    def forward(self, tokens: Tensor) -> Tensor:
        queries = self.queries.repeat(len(tokens), 1, 1)
        return queries @ tokens.mT


@situation(
    "Position embeddings resized by a scale_factor computed from the image: a float, which a trace makes a number",
    "https://github.com/huggingface/transformers/issues/26790",
    "https://github.com/facebookresearch/dino/issues/8",
    Deploy(
        "--shape 2x3x56x70 --dynamic batch=1:2:4,height=28:56:112,width=28:70:112",
        "refused: holds only for height of no size in its range",
        refused("give F.interpolate the size in place of scale_factor"),
    ),
    Deploy("--shape 2x3x56x70 --dynamic batch=1:2:4", "passed", PASSES),
)
class ScaledPositions(nn.Module):
    def __init__(self, width: int = 12, patch: int = 14, side: int = 6) -> None:
        super().__init__()
        self.patch, self.side = nn.Conv2d(3, width, patch, patch), side
        self.positions = nn.Parameter(torch.randn(1, width, side, side))

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patch(image)
        # the tenth keeps the rounded size from being one too small
        rows, columns = ((size + 0.1) / self.side for size in patches.shape[2:])
        grid = F.interpolate(self.positions, scale_factor=(rows, columns), mode="bicubic")
        found: Tensor = patches + grid
        return found


@situation(
    "One image, wanted at a batch of 1 to 8",
    "https://github.com/pytorch/pytorch/issues/157621",
    Deploy(
        "--shape 1x3x32x32 --dynamic batch=1:8:8",
        "refused: write batch=1:1:8 or change --shape",
        PASSES,
    ),
    Deploy(
        "--shape 1x3x32x32 --dynamic batch=1:1:8",
        "refused: write batch=1:2:8",
        refused("write --shape 2x3x32x32 --dynamic batch=1:2:8"),
    ),
    Deploy(
        "--shape 1x3x32x32 --dynamic batch=1:2:8",
        "refused: write batch=1:1:8 or change --shape",
        PASSES,
    ),
    Deploy("--shape 2x3x32x32 --dynamic batch=1:2:8", "passed", PASSES),
)
class OneImage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 3, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.convolution(image)
        return found


@situation(
    "A recurrent head over the columns of a text line, whose number varies",
    "https://github.com/pytorch/pytorch/issues/99516",
    "https://github.com/pytorch/pytorch/issues/148886",
    Deploy(
        "--shape 2x8x4x20 --dynamic width=6:20:50",
        "exit code 1, without a line and without a word of nn.LSTM",
        refused("nn.LSTM for one size alone"),
    ),
    Deploy("--shape 2x8x4x20 --dynamic batch=1:2:6", "passed", PASSES),
)
class TextLine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.LSTM(8, 6, batch_first=True, bidirectional=True)

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.reader(features.amax(2).mT)[0]
        return found
