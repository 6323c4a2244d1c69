"""Modules that eager float32 runs and that a float64 copy of them did not, or ran with something else's values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from situations.situation import PASSES, Deploy, fails, refused, situation

CANNOT_RUN = "refused: PyTorch itself cannot run case traced, and it can"


@situation(
    "Pillars scattered onto a canvas: torch.zeros(…).scatter_(…) with a canvas of the default type",
    "https://github.com/pytorch/pytorch/issues/39227",
    "https://github.com/onnx/onnx/issues/3781",
    Deploy("--shape x=2x10x8 --dynamic batch=1:2:4", CANNOT_RUN, PASSES),
)
class ScatteredPillars(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(8, 6)
        self.register_buffer("places", torch.randperm(16)[:10])

    def forward(self, x: Tensor) -> Tensor:
        places = self.places[None, :, None].expand(x.shape[0], -1, 6)
        return torch.zeros(x.shape[0], 16, 6).scatter_(1, places, self.encode(x))


@situation(
    "Ones written into a mask at given rows and columns: assignment by index tensors",
    "https://github.com/onnx/onnx/issues/3781",
    "https://github.com/pytorch/pytorch/issues/42292",
    Deploy("--shape x=2x10x12", CANNOT_RUN, PASSES),
)
class AssignedByIndex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(12, 12)
        self.register_buffer("diagonal", torch.tensor([1, 4, 8]))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.scores(x)
        scores[:, self.diagonal, self.diagonal] = torch.ones(3)
        return scores


@situation(
    "A causal mask of torch.finfo(x.dtype).min",
    "https://github.com/huggingface/transformers/pull/17306",
    Deploy("--shape x=2x10x16 --dynamic batch=1:2:4", CANNOT_RUN, PASSES),
)
class CausalByLowest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.keys = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        lowest = torch.finfo(x.dtype).min
        later = torch.ones(10, 10, dtype=torch.bool).triu(1)
        scores = x @ self.keys(x).mT + torch.zeros(10, 10).masked_fill(later, lowest)
        return scores.softmax(-1) @ x


@situation(
    "A label for the profiler in forward, as nn.DataParallel sets one",
    "https://github.com/Abe404/root_painter/issues/184",
    Deploy("--shape 2x3x8x8", "refused: NotImplementedError: '__eq__' of the profiler's record", PASSES),
)
class ProfilerLabel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.profiler.record_function("mixing"):
            found: Tensor = self.mix(x).relu()
        return found


@situation(
    "A feature that a forward hook stores on the module, and that forward reads there",
    "https://github.com/isl-org/MiDaS/issues/182",
    Deploy("--shape 2x3x8x8", "the verdict failed over a right graph", PASSES),
    Deploy("--shape 2x3x8x8 --dynamic batch=1:2:4", "the verdict failed over a right graph", PASSES),
)
class FeatureByHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.kept: dict[str, Tensor] = {}
        self.stem.register_forward_hook(lambda _module, _args, output: self.kept.update(stem=output))

    def forward(self, x: Tensor) -> Tensor:
        self.stem(x)
        return self.kept["stem"].tanh()


@situation(
    "F.dropout without training=self.training: random in eval mode as well",
    "https://github.com/Coderx7/SimpleNet/issues/2",
    "https://github.com/onnx/onnx/issues/4855",
    "https://github.com/pytorch/pytorch/issues/103681",
    Deploy("--shape 2x4x8x8 --dynamic batch", "the verdict failed, and did not say why", refused("random numbers")),
)
class AlwaysDrops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.Conv2d(4, 6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = nn.functional.dropout(self.mix(x).mean((2, 3)), 0.1)
        found: Tensor = self.head(pooled)
        return found


@situation(
    "F.batch_norm with training=True written into forward: statistics of the batch, running ones that change",
    "https://github.com/microsoft/onnxruntime/issues/26584",
    "https://github.com/pytorch/pytorch/issues/49229",
    Deploy(
        "--shape 2x4x8x8 --dynamic batch=1:2:6",
        "the verdict failed, and did not say why",
        refused("statistics of its batch.*training=self.training"),
    ),
)
class AlwaysTrains(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.norm = nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        statistics = norm.running_mean, norm.running_var
        return nn.functional.batch_norm(self.mix(x), *statistics, norm.weight, norm.bias, training=True)


@situation(
    "A checkpoint of a training that diverged: the bias of one of eight channels is NaN",
    "https://github.com/facebookresearch/ConvNeXt/issues/80",
    "https://github.com/NVIDIA/TensorRT/issues/4748",
    Deploy(
        "--shape 2x3x16x16 --dynamic batch=1:2:4",
        "passed, the channel not compared",
        fails("finite in no case", "repair the checkpoint: the weights that are not finite are named under `hidden`"),
    ),
)
class OneChannelIsNan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 8, 3, padding=1)
        with torch.no_grad():
            self.mix.bias[2] = float("nan")  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(self.mix(x))
