"""Resizes between pixels: PyTorch's places, in a graph, if ONNX's Resize would lose them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from sized import exported
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import CheckFailed
from attn2trt.export.trace.between_pixels import finds_same


@pytest.mark.parametrize(("before", "after"), [(7, 14), (56, 7), (13, 25), (33, 65), (48, 36), (5, 1), (24, 32)])
def test_resize_finds_most_places(before: int, after: int) -> None:
    assert finds_same(before, after)


@pytest.mark.parametrize(("before", "after"), [(7, 8), (14, 16), (28, 32), (224, 256), (448, 512)])
def test_resize_loses_places_where_the_factor_is_no_number_of_float32_and_its_reciprocal_is(
    before: int, after: int
) -> None:
    assert not finds_same(before, after)


class Resized(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        h, w = x.shape[2:]
        options: list[dict[str, Any]] = [{"mode": "bilinear"}, {"mode": "bicubic"}]
        found = [F.interpolate(x, (h * 8 // 7, 16), **option) for option in options]
        row, volume = (
            F.interpolate(x[:, :, 0], 16, mode="linear"),
            F.interpolate(x[:, :, None], (2, h, 16), mode="trilinear"),
        )
        return (*found, row, volume, F.interpolate(x, (2 * h, 2 * w), mode="bilinear"))


@pytest.mark.slow
@pytest.mark.parametrize("height", [7, 14, 21])
def test_a_graph_has_pytorchs_places_at_every_size(height: int, tmp_path: Path) -> None:
    module = Resized()
    _, graph = exported(module, tmp_path, "height=7:14:21:7", (1, 2, 14, 14))
    assert [node.op_type for node in onnx.load(graph.path).graph.node].count("Resize") == 1
    x = torch.randn(1, 2, height, 14)
    for value, truth in zip(OrtRuntime(graph.path).run({"x": x.numpy()}).values(), module(x.double()), strict=True):
        np.testing.assert_allclose(value, truth.numpy(), rtol=1e-6, atol=1e-6)


class InFloat64(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x.double(), (x.shape[2] * 8 // 7, 16), mode="bilinear").float()


def test_a_resize_in_float64_is_left_to_onnx_whose_runtime_lacks_it(tmp_path: Path) -> None:
    _, graph = exported(InFloat64(), tmp_path, "none", (1, 2, 14, 14))
    assert "Resize" in [node.op_type for node in onnx.load(graph.path).graph.node]
    with pytest.raises(CheckFailed, match=r"Resize.*; compute it in float32, without \.double\(\), if"):
        OrtRuntime(graph.path)
