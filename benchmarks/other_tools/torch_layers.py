"""Single layers whose operators are seldom, written by PyTorch's TorchScript exporter."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from other_tools.foreign_file import Foreign


class Bicubic(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=2.0, mode="bicubic")


class Nms(nn.Module):
    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        return torchvision.ops.nms(corners, scores, 0.5)


class Loop(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(int(x.shape[1])):
            x = x * 0.9 + x.mean()
        return x


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.lstm(x)[0]
        return found


class Grid(nn.Module):
    def forward(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return nn.functional.grid_sample(x, grid, align_corners=False)


def gelu() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8))


@dataclass(frozen=True)
class Layer:
    """A layer, the opset that it is written at, the shapes of its inputs by name, and how it is checked."""

    name: str
    opset: int
    make: Callable[[], nn.Module]
    inputs: dict[str, tuple[int, ...]]
    options: dict[str, Any] = field(default_factory=dict)


IMAGE, WORDS = (2, 3, 8, 8), (2, 5, 8)
FIXED = {"shapes": ["boxes=20x4:float32[0,9]", "scores=20:float32[0,1]"], "dynamic": "none"}
LAYERS = (
    Layer("bicubic", 11, Bicubic, {"x": IMAGE}),
    Layer("nms", 11, Nms, {"boxes": (20, 4), "scores": (20,)}, FIXED),
    Layer("loop", 13, lambda: torch.jit.script(Loop()), {"x": (2, 3)}),
    Layer("lstm", 14, Lstm, {"x": WORDS}),
    Layer("grid", 16, Grid, {"x": IMAGE, "grid": (2, 6, 6, 2)}, {"shapes": ["grid=2x6x6x2:float32[-1,1]"]}),
    Layer("gelu", 17, gelu, {"x": WORDS}),
)


def layers() -> Iterator[Foreign]:
    """Yield single layers whose operators are seldom."""
    for layer in LAYERS:
        tool = f"torch.onnx (TorchScript), opset {layer.opset}"
        yield Foreign(layer.name, tool, functools.partial(write, layer), layer.options)


def write(layer: Layer, path: Path) -> None:
    """Write a layer; its batch varies unless it is checked at one size."""
    torch.manual_seed(0)
    is_fixed = layer.options.get("dynamic") == "none"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            layer.make().eval(),
            tuple(torch.rand(shape) for shape in layer.inputs.values()),
            str(path),
            dynamo=False,
            opset_version=layer.opset,
            input_names=[*layer.inputs],
            output_names=["y"],
            dynamic_axes={} if is_fixed else {name: {0: "n"} for name in (*layer.inputs, "y")},
        )
