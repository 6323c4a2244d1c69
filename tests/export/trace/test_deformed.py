"""Deformable convolution is torchvision's, in an opset that has no operator for it, at any size and for any offset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from sized import exported
from torch import Tensor, nn

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.export.precision import lower
from attn2trt.export.trace.exporter import trace
from attn2trt.modules.own_module import from_module

PLAIN = {"kernel_size": 3, "padding": 1}
OTHER = {"kernel_size": (3, 5), "padding": (2, 4), "stride": (2, 1), "dilation": 2, "groups": 2, "bias": False}


class Deformed(nn.Module):
    """A deformable convolution with offsets of at most ``reach`` pixels and a mask."""

    def __init__(self, offset_groups: int = 1, **options: Any) -> None:
        from torchvision.ops import DeformConv2d

        super().__init__()
        self.layer = DeformConv2d(4, 6, **options)
        taps = offset_groups * self.layer.weight[0, 0].numel()
        like = (self.layer.kernel_size, self.layer.stride, self.layer.padding, self.layer.dilation)
        self.find = nn.Conv2d(4, 3 * taps, *like)

    def forward(self, x: Tensor, reach: Tensor) -> Tensor:
        offsets, mask = self.find(x).tensor_split([self.find.out_channels // 3 * 2], 1)
        found: Tensor = self.layer(x, offsets.tanh() * reach, mask.sigmoid())
        return found


@pytest.mark.parametrize(("offset_groups", "options"), [(1, PLAIN), (2, OTHER)], ids=["plain", "other"])
def test_the_graph_is_torchvisions_layer_at_other_sizes(
    offset_groups: int, options: dict[str, Any], tmp_path: Path
) -> None:
    module = Deformed(offset_groups, **options)
    _, graph = exported(module, tmp_path, "batch=1:2:3,height=7:9:20,width=7:10:20", (2, 4, 9, 10), (1,))
    runtime = OrtRuntime(graph.path)
    for shape, reach in (((1, 4, 7, 20), 0.7), ((3, 4, 12, 9), 30.0)):  # most of which lies outside of the image
        x, far = torch.randn(shape), torch.tensor([reach])
        (value,) = runtime.run({"x": x.numpy(), "reach": far.numpy()}).values()
        with torch.no_grad():
            np.testing.assert_allclose(value, module(x, far).numpy(), rtol=1e-4, atol=1e-5)


class OfHalf(nn.Module):
    """As EDVR, whose maps have channels that torch knows as a quotient of sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.halved, self.deformed = nn.Conv2d(4, 4, 3, stride=2, padding=1), Deformed(**PLAIN)

    def forward(self, x: Tensor, reach: Tensor) -> Tensor:
        h, w = x.shape[2:]
        found: Tensor = self.deformed(self.halved(x).view(x.shape[0], -1, h // 2, w // 2), reach)
        return found


def test_channels_need_be_no_number_in_the_trace(tmp_path: Path) -> None:
    module = OfHalf()
    _, graph = exported(module, tmp_path, "height=8:12:20:2,width=8:12:20:2", (1, 4, 12, 12), (1,))
    x, far = torch.randn(1, 4, 8, 18), torch.tensor([2.0])
    (value,) = OrtRuntime(graph.path).run({"x": x.numpy(), "reach": far.numpy()}).values()
    with torch.no_grad():
        np.testing.assert_allclose(value, module(x, far).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_opset_that_has_the_operator_gets_it(tmp_path: Path) -> None:
    module = Deformed(**PLAIN).eval()
    target = from_module(module, (torch.randn(2, 4, 9, 10), torch.ones(1)))
    for opset in (17, 19):
        graph = onnx.load(trace(target, module, tmp_path / "model.onnx", opset=opset).path).graph
        assert ("DeformConv" in {node.op_type for node in graph.node}) == (opset == 19)


def test_places_among_pixels_stay_in_float32(tmp_path: Path) -> None:
    """In float16 the place 100.4 is 0.025 of a pixel off, and so is all that is read there."""
    module = Deformed(**PLAIN)
    _, graph = exported(module, tmp_path, "none", (2, 4, 9, 10), (1,))
    low = lower(graph, "fp16", tmp_path)
    assert "gives a place among pixels" in low.float32.values()
    kinds = {node.name: node.op_type for node in onnx.load(graph.path).graph.node}
    in_float32 = {kinds[name] for name in low.float32}
    assert "Floor" in in_float32
    assert not in_float32 & {"Conv", "GatherND"}
