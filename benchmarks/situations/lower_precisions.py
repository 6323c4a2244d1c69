"""The losses of float16 and int8: near ties, overflow, channels that an outlier hides, selections."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from situations.situation import NOT_TRIED, PASSES, Deploy, fails, situation


@situation(
    "A segmentation whose only output is the class of each pixel",
    "https://github.com/ultralytics/ultralytics/pull/24598",
    "https://github.com/triton-inference-server/server/issues/4321",
    "https://github.com/NVIDIA/TensorRT/issues/1025",
    Deploy("--shape 2x3x32x40 --dynamic batch=1:2:4,height=16:32:64,width=16:40:64", "passed", PASSES),
    Deploy(
        "--shape 2x3x32x40 --dynamic batch=1:2:4 --precision fp32,fp16",
        "float16 failed over near ties: 1 of 5120 differ, first 4 instead of 1",
        PASSES,
    ),
)
class ClassMap(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU(), nn.Conv2d(8, 6, 1))

    def forward(self, image: Tensor) -> Tensor:
        scores = F.interpolate(self.scores(image), size=image.shape[2:], mode="bilinear", align_corners=False)
        return scores.argmax(1)


@situation(
    "Queries chosen by top-k of scores, then gathered, as in RT-DETR; logits of anchors that are infinite outside",
    "https://github.com/ultralytics/ultralytics/pull/25755",
    "https://github.com/open-mmlab/mmdeploy/issues/2149",
    "https://github.com/pytorch/vision/pull/5310",
    Deploy("--shape 2x8x12x14 --dynamic batch=1:2:4", "passed", PASSES),
)
class TopQueries(nn.Module):
    def __init__(self, channels: int = 8, count: int = 20) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.classes, self.boxes, self.count = nn.Linear(channels, 5), nn.Linear(channels, 2), count

    def anchors(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = (torch.stack([columns, rows], -1) + 0.5) / torch.tensor([width, height], dtype=torch.float32)
        inside = ((places > 0.05) & (places < 0.95)).all(-1, keepdim=True)
        logits = torch.where(inside, places.logit(), torch.inf)
        return logits.flatten(0, 1)[None], inside.flatten(0, 1)[None]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        anchors, inside = self.anchors(*features.shape[2:])
        memory = self.encode(features.flatten(2).mT * inside)
        classes, boxes = self.classes(memory), (self.boxes(memory) + anchors).sigmoid()
        best = classes.amax(-1).topk(self.count, dim=1).indices.unsqueeze(-1)
        return boxes.gather(1, best.expand(-1, -1, 2)), classes.gather(1, best.expand(-1, -1, 5))


class Standardised(nn.Module):
    """Layer normalisation over the channels of an image, written out."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        return centred / (centred.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()


@situation(
    "A layer normalisation written out, whose squares leave the range of float16",
    "https://github.com/facebookresearch/ConvNeXt/issues/80",
    "https://github.com/NVIDIA/TensorRT/issues/2564",
    "https://github.com/roboflow/rf-detr/issues/176",
    Deploy(
        "--shape 2x8x12x14 --dynamic batch=1:2:4 --precision fp32,fp16",
        "float16 failed, and keeping the modules that it named did not help",
        fails("fp16"),
    ),
    Deploy(
        "--shape 2x8x12x14 --dynamic batch=1:2:4 --precision fp32,fp16 --keep-fp32 spatial",
        "passed, with what was named last",
        PASSES,
    ),
)
class LoudLayerNorm(nn.Module):
    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm, self.mix = Standardised(), nn.Conv2d(channels, channels, 1)
        with torch.no_grad():
            self.spatial.weight.mul_(6000)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.gelu(self.mix(self.norm(self.spatial(x))))


@situation(
    "A detector's boxes and scores in one output, behind a feature that is far louder than the others",
    "https://github.com/NVIDIA/TensorRT/issues/1179",
    "https://github.com/NVIDIA/TensorRT/issues/1114",
    "https://github.com/NVIDIA/TensorRT/issues/997",
    Deploy(
        "--shape 2x3x32x40 --dynamic batch=1:2:4 --precision fp32,int8",
        "PASSED: the scores were constants in int8",
        fails(
            "without what varies in PyTorch",
            "--keep-fp32 with the modules named, or --precision auto, which searches them",
        ),
    ),
    Deploy("--shape 2x3x32x40 --dynamic batch=1:2:4 --precision fp32,int8 --keep-fp32 scores", NOT_TRIED, PASSES),
)
class LoudFeature(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features, self.boxes, self.scores = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 4, 1), nn.Conv2d(16, 5, 1)
        with torch.no_grad():
            self.features.weight[3] *= 800
            self.features.bias[3] = 300  # type: ignore[index]
            self.scores.weight[:, 3] = 0

    def forward(self, image: Tensor) -> Tensor:
        features = F.silu(self.features(image))
        return torch.cat([self.boxes(features), self.scores(features).sigmoid()], 1)
