"""Operators and weights that exporters translate wrongly, or not at all."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from situations.situation import NOT_TRIED, PASSES, Deploy, fails, refused, situation

DEFORMED = "--shape 2x8x20x24 --dynamic batch=1:2:5,height=12:20:40,width=12:24:40"


@situation(
    "Deformable convolution of torchvision, with offsets and a mask that are computed",
    "https://github.com/pytorch/pytorch/issues/185195",
    "https://github.com/ZhengPeng7/BiRefNet/pull/167",
    Deploy(DEFORMED, "exit code 1: No Op registered for DeformConv", PASSES),
    Deploy(f"{DEFORMED} --opset 19 --for none", "passed", PASSES),
    Deploy(
        f"{DEFORMED} --opset 19",
        "passed; no TensorRT was asked",
        fails("DeformConv.*--opset 17"),
    ),
)
class Deformed(nn.Module):
    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.offsets, self.mask = nn.Conv2d(channels, 18, 3, padding=1), nn.Conv2d(channels, 9, 3, padding=1)
        self.weight = nn.Parameter(torch.randn(channels, channels, 3, 3) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        from torchvision.ops import deform_conv2d

        offsets, mask = self.offsets(x).clamp(-3, 3), self.mask(x).sigmoid()
        found: Tensor = deform_conv2d(x, offsets, self.weight, padding=1, mask=mask)
        return found


class ChannelScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.4, -1.2, 2.0, 3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None]


@situation(
    "weight_norm of a scale of channels, a weight of one dimension",
    "https://github.com/pytorch/pytorch/pull/191749",
    "https://github.com/pytorch/pytorch/issues/130644",
    Deploy("--shape 2x4x5x5 --dynamic batch=1:2:4", "the verdict failed: the exporter's graph is wrong", PASSES),
)
def normalised_scale() -> nn.Module:
    return parametrizations.weight_norm(ChannelScale(), dim=0)


@situation(
    "An orthogonal weight: the exponential of a matrix of parameters alone",
    "https://github.com/pytorch/pytorch/issues/27723",
    Deploy("--shape 2x4", "refused: no ONNX form: linalg_matrix_exp", PASSES),
)
def orthogonal_weight() -> nn.Module:
    return parametrizations.orthogonal(nn.Linear(4, 4))


@situation(
    "float64 inside of the module, which TensorRT does not have",
    "https://github.com/pytorch/pytorch/issues/41231",
    Deploy("--shape 2x4x8x8 --dynamic batch", "passed, without a word of it", PASSES),
)
class DoubleInside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.mix(x).double()
        return (wide - wide.mean((2, 3), keepdim=True)).float()


@situation(
    "The inverse of a covariance",
    "https://github.com/pytorch/pytorch/issues/173169",
    Deploy(
        "--shape 2x4x8x8 --dynamic batch",
        "refused, without the line of the user's file",
        PASSES,
    ),
)
class Whitened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.mix(x).flatten(2)
        covariance = features @ features.mT / features.shape[-1] + torch.eye(4)
        return torch.linalg.inv(covariance)


@situation(
    "Sliding windows by torch.as_strided, on the strides of the input",
    "https://github.com/khanld/chunkformer/pull/42",
    Deploy(
        "--shape 2x3x12x16 --dynamic batch=1:2:4,height=5:12:24,width=5:16:24",
        "refused, without the line of the user's file",
        refused(r"take windows with x\.unfold"),
    ),
)
class StridedWindows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        batch, plane, row, column = x.stride()
        windows = (n, channels, height - 2, width - 2, 3, 3)
        cut = x.as_strided(windows, (batch, plane, row, column, row, column))
        found: Tensor = self.read(cut.flatten(4))
        return found


@situation(
    "torch.autocast inside of forward",
    "https://github.com/Intellindust-AI-Lab/DEIMv2/issues/132",
    "https://github.com/yformer/EfficientTAM/issues/17",
    Deploy(
        "--shape 2x4x8x8 --dynamic batch",
        "exit code 1: unsupported type: tensor(bfloat16)",
        refused("under torch.autocast.*remove the block"),
    ),
)
class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = self.mix(x)
        return low.float() - x


@situation(
    "A device written into forward, on a machine without a GPU",
    "https://github.com/pytorch/pytorch/issues/39227",
    Deploy(
        "--shape 2x4x8x8 --dynamic batch",
        "refused: Found no NVIDIA driver; change --shape or --dynamic",
        refused(r"a device is written into that line; take it from an input"),
    ),
)
class DeviceWritten(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        columns = torch.arange(x.shape[-1], device="cuda")
        found: Tensor = self.mix(x) + columns.to(x)
        return found


@situation(
    "Attention with a negative scale, which attends to what is least alike",
    Deploy("--shape 2x3x10x8 --dynamic batch=1:2:4", NOT_TRIED, PASSES),
)
class UnlikeAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x.sin(), x, scale=-0.5)
