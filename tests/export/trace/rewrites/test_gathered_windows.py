"""Maxima that tell where they are, and windows with gaps: right at every size, in operators that TensorRT takes."""

from __future__ import annotations

import onnx
import pytest
import torch
from sized import check_right, exported
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.core.graph import OnnxGraph
from attn2trt.modules.target import Target

LAYERS: tuple[nn.Module, ...] = (
    nn.MaxPool2d(3, 2, 1, return_indices=True, ceil_mode=True),
    nn.MaxPool2d((3, 2), (1, 3), (1, 0), (2, 3), return_indices=True),
    nn.MaxPool2d(2, 3, 1, dilation=2, ceil_mode=True),
)


class Every(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        x = x.round(decimals=1) - 3  # equal numbers, none above zero in most windows
        maxima, places = F.max_pool2d(x, 2, return_indices=True)
        lines = F.max_pool1d(x.flatten(1), 3, dilation=2, return_indices=True)
        found = [layer(x) for layer in LAYERS]
        unpooled = F.max_unpool2d(maxima.exp(), places, 2, output_size=x.shape)
        binned = F.adaptive_max_pool2d(x, (4, 3), return_indices=True)
        return [
            unpooled,
            *lines,
            *binned,
            *(part for one in found for part in ([one] if torch.is_tensor(one) else one)),
        ]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> tuple[Target, OnnxGraph]:
    return exported(Every(), tmp_path_factory.mktemp("every"), "batch=1:2:3,height=6:8:13,width=7:9:14", (2, 3, 8, 9))


@pytest.mark.parametrize(("batch", "height", "width"), [(2, 8, 9), (1, 6, 7), (3, 13, 14), (1, 7, 12), (2, 12, 7)])
def test_the_maxima_and_their_places_are_pytorchs(
    every: tuple[Target, OnnxGraph], batch: int, height: int, width: int
) -> None:
    check_right(*every, {"batch": batch, "height": height, "width": width})


def test_no_pooling_of_the_graph_has_places_or_gaps(every: tuple[Target, OnnxGraph]) -> None:
    pools = [node for node in onnx.load(every[1].path).graph.node if node.op_type == "MaxPool"]
    assert all(len(node.output) == 1 for node in pools)
    assert all(set(one.ints) == {1} for node in pools for one in node.attribute if one.name == "dilations")
