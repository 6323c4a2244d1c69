"""A small module and the 8-bit file that a quantiser writes of it."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from foreign_files import model
from onnx import helper
from torch import nn

LEVELS = 255


class Gate(nn.Module):
    """A convolution and an activation with an upper end, which quantisers leave to their range."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(nn.functional.relu6(3 * self.first(x)))


def quantised(module: Gate, *, factor: float = 1.0, ends: float = 6.0) -> onnx.ModelProto:
    """What a quantiser makes of the module: weights in 8 bits, the ReLU6 left to the levels of what it gives.

    The first weight is stored ``factor`` times as large, and the range of the ReLU6 ends at ``ends``.
    """
    weights: dict[str, np.ndarray] = {"three": np.array(3, np.float32)}
    steps = {"x": (np.float32(0.03), np.int8(0)), "r": (np.float32(ends / LEVELS), np.uint8(0))}
    for name, (step, zero) in steps.items():
        weights |= {f"{name}_step": np.array(step), f"{name}_zero": np.array(zero)}
    for name, layer in (("first", module.first), ("last", module.last)):
        stored, scale = _levels(layer.weight.detach().numpy())
        scale = scale * np.float32(factor if name == "first" else 1)
        weights |= {f"{name}_w": stored, f"{name}_scale": scale, f"{name}_zero": np.zeros(scale.shape, np.int8)}
        weights[f"{name}_b"] = layer.bias.detach().numpy()
    nodes = [
        *_pair("x", "x"),
        _weight("first"),
        helper.make_node("Conv", ["x_d", "first_f", "first_b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["c", "three"], ["r"]),
        *_pair("r", "r"),
        _weight("last"),
        helper.make_node("Conv", ["r_d", "last_f", "last_b"], ["y"]),
    ]
    return model(nodes, weights)


def _levels(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = (np.abs(weight).max(axis=(1, 2, 3)) / 127).astype(np.float32)
    return np.round(weight / scale[:, None, None, None]).astype(np.int8), scale


def _pair(name: str, steps: str) -> list[onnx.NodeProto]:
    given = [f"{steps}_step", f"{steps}_zero"]
    return [
        helper.make_node("QuantizeLinear", [name, *given], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", *given], [f"{name}_d"]),
    ]


def _weight(name: str) -> onnx.NodeProto:
    return helper.make_node("DequantizeLinear", [f"{name}_w", f"{name}_scale", f"{name}_zero"], [f"{name}_f"], axis=0)
