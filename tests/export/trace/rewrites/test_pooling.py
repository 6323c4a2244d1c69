"""Pooling rewritten for dynamic sizes: equal to PyTorch's at every size, and right after export at sizes not traced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.export.trace.exporter import trace
from attn2trt.export.trace.rewrites.pooling import adaptive_average, adaptive_maximum
from attn2trt.modules.target import Target

SIZES = [(16, 20), (7, 9), (5, 3), (1, 4), (13, 1)]
OUTPUTS = [(None, 1), (1, None), (3, 5), (7, 1), (None, None), 1, 4, (10, 2)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_equals_pytorch_at_factor_and_other_sizes(size: tuple[int, int], output: object) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(adaptive_average(x, output, 2), F.adaptive_avg_pool2d(x, output), rtol=0, atol=1e-12)
    torch.testing.assert_close(adaptive_maximum(x, output, 2), F.adaptive_max_pool2d(x, output), rtol=0, atol=0)


def test_equals_pytorch_in_one_and_three_dimensions() -> None:
    line, volume = torch.randn(2, 3, 11), torch.randn(2, 3, 5, 6, 7)
    torch.testing.assert_close(adaptive_average(line, 4, 1), F.adaptive_avg_pool1d(line, 4))
    torch.testing.assert_close(adaptive_maximum(line, 4, 1), F.adaptive_max_pool1d(line, 4))
    torch.testing.assert_close(adaptive_average(volume, (2, 3, 4), 3), F.adaptive_avg_pool3d(volume, (2, 3, 4)))
    torch.testing.assert_close(adaptive_maximum(volume, (2, 3, 4), 3), F.adaptive_max_pool3d(volume, (2, 3, 4)))


class Pool(nn.Module):
    """A user's module that calls one pooling function on its input."""

    def __init__(self, call: object) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(x) * 1.0  # type: ignore[operator]


CALLS = {
    "module average (None, 1)": nn.AdaptiveAvgPool2d((None, 1)),
    "module average (1, None)": nn.AdaptiveAvgPool2d((1, None)),
    "module average 7": nn.AdaptiveAvgPool2d(7),
    "module maximum (None, 1)": nn.AdaptiveMaxPool2d((None, 1)),
    "module maximum (3, 5)": nn.AdaptiveMaxPool2d((3, 5)),
    "average over x.size()[2:]": lambda x: F.avg_pool2d(x, x.size()[2:]),
    "average over (h, w), with stride": lambda x: F.avg_pool2d(
        x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3))
    ),
    "maximum over x.shape[2:]": lambda x: F.max_pool2d(x, x.shape[2:]),
    "average by a divisor of one's own": lambda x: F.avg_pool2d(x, (3, 2), 2, 1, divisor_override=5),
    "one with a window cut off": lambda x: F.avg_pool2d(x, (3, 2), (2, 3), 1, ceil_mode=True, divisor_override=5),
    "average over a window that ends behind the image": lambda x: F.avg_pool2d(x, 400, ceil_mode=True),
    "maximum over a window that ends behind the image": lambda x: F.max_pool2d(x, 400, ceil_mode=True),
    "split in three of the height": lambda x: torch.cat(torch.tensor_split(x, 3, 2)[::-1], 2),
    "split in five of the width": lambda x: torch.cat(x.tensor_split(sections=5, dim=-1)[1:], -1),
    "1-d over a flattened map": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 5),
}


@pytest.mark.parametrize("name", CALLS)
def test_exported_graph_holds_at_sizes_that_were_not_traced(name: str, tmp_path: Path) -> None:
    axes = {"batch": Axis(1, 2, 4), "height": Axis(6, 12, 40), "width": Axis(6, 14, 40)}
    module = Pool(CALLS[name]).eval()
    target = Target("pool", lambda: module, (TensorSpec("x", ("batch", 3, "height", "width")),), axes)
    trace(target, module, tmp_path / "pool.onnx", opset=17)
    session = onnxruntime.InferenceSession(tmp_path / "pool.onnx", providers=["CPUExecutionProvider"])
    for shape in [(2, 3, 12, 14), (1, 3, 6, 6), (3, 3, 31, 17), (4, 3, 40, 7)]:
        x = torch.randn(shape)
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], module(x).numpy(), rtol=1e-5, atol=1e-6)
    assert not [node for node in onnx.load(tmp_path / "pool.onnx").graph.node if 400 in sizes_of_window(node)]


def sizes_of_window(node: onnx.NodeProto) -> list[int]:
    return [size for attribute in node.attribute if attribute.name == "kernel_shape" for size in attribute.ints]
