"""Resizes by nearest whose pixels ONNX's Resize would not find: written so that the graph picks PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from sized import check_right, exported
from small_graph import small_model
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.core.graph import OnnxGraph
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.trace.nearest import picks_same


class Resized(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, **self.options)


class Stretched(nn.Module):
    """The first two rows, resized to the number of all."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x[None, None, :2], size=x.shape, mode="nearest")[0, 0] + x


class Grown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=(x.shape[2] * 3 // 2, x.shape[3] + 5), mode="nearest")


def operators(graph: OnnxGraph) -> set[str]:
    return {node.op_type for node in onnx.load(graph.path).graph.node}


def check_everywhere(module: nn.Module, dynamic: str, shape: tuple[int, ...], folder: Path) -> OnnxGraph:
    target, graph = exported(module, folder, dynamic, shape)
    for end in ("min", "opt", "max"):
        check_right(target, graph, target.sizes(end))
    return graph


@pytest.mark.parametrize(
    ("options", "gathers"),
    [
        ({"scale_factor": 0.6}, True),  # 10 / 0.6 is below a whole number in float32
        ({"scale_factor": 0.6, "recompute_scale_factor": True}, True),
        ({"scale_factor": 2}, False),
        ({"scale_factor": 1.7, "mode": "nearest-exact"}, True),
        ({"size": (11, 7), "mode": "nearest-exact"}, True),
    ],
)
def test_a_resize_by_nearest_picks_pytorchs_pixels(options: dict[str, Any], gathers: bool, tmp_path: Path) -> None:
    graph = check_everywhere(Resized(**options), "height=18:20:22,width=8:9:10", (1, 2, 20, 9), tmp_path)
    assert ("Gather" in operators(graph), "Resize" in operators(graph)) == (gathers, not gathers)


def test_a_size_at_which_onnx_picks_another_pixel_is_right(tmp_path: Path) -> None:
    assert "Resize" not in operators(check_everywhere(Stretched(), "dim0=80:81:82", (81, 5), tmp_path))
    # of sizes at which both pick the same, Resize stays
    assert "Resize" in operators(check_everywhere(Stretched(), "dim0=79:80:81", (80, 5), tmp_path))


def test_sizes_of_a_product_and_a_sum_are_right(tmp_path: Path) -> None:
    check_everywhere(Grown(), "height=11:12:14,width=23:24:25", (1, 2, 12, 24), tmp_path)


@pytest.mark.parametrize("rank", [1, 3])
def test_images_of_another_rank_are_resized_too(rank: int, tmp_path: Path) -> None:
    check_everywhere(Resized(scale_factor=0.6), "dim2=18:20:21", (1, 2, 20, *[4] * (rank - 1)), tmp_path)


def test_a_fixed_size_is_resized_as_one_that_varies(tmp_path: Path) -> None:
    assert "Resize" not in operators(check_everywhere(Resized(size=(82, 4)), "batch=1:2:3", (2, 1, 2, 4), tmp_path))


@pytest.mark.parametrize(
    ("before", "after", "factor", "same"),
    [
        (2, 82, None, False),
        (2, 80, None, True),
        (49, 7, None, False),
        (20, 40, None, True),
        (20, 12, 0.6, False),
        (12, 7, 0.6, True),
        (20, 34, 1.7, True),
    ],
)
def test_the_formula_is_onnx_runtime_s(
    before: int, after: int, factor: float | None, same: bool, tmp_path: Path
) -> None:
    exact = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    inputs = ["x", "", "", "s"] if factor is None else ["x", "", "s"]
    node = helper.make_node("Resize", inputs, ["y"], **exact)
    s = np.array([1, 1, 1, after]) if factor is None else np.array([1, 1, 1, factor], np.float32)
    ends: list[dict[str, Any]] = [{"x": [1, 1, 1, before]}, {"y": [1, 1, 1, after]}]
    path = tmp_path / "resize.onnx"
    path.write_bytes(small_model([node], *ends, {"s": s}, opset=18, ir_version=9).SerializeToString())
    image = torch.arange(before, dtype=torch.float64).reshape(1, 1, 1, -1)
    found = OrtRuntime(path).run({"x": image.numpy().astype(np.float32)})["y"]
    options: Mapping[str, Any] = {"size": (1, after)} if factor is None else {"scale_factor": (1.0, factor)}
    wanted = F.interpolate(image, mode="nearest", **options).numpy()
    assert np.array_equal(found, wanted) == same == picks_same(before, after, factor)
