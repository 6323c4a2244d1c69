"""Dimensions that are tied to other axes: traced, exported, drawn for cases and put into profiles as expressions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from sized import check_right, exported
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.tensorrt.profiles import parse_profiles
from attn2trt.errors import ModuleRefused
from attn2trt.export.deploy_files import trtexec_line
from attn2trt.modules.own_module import from_module
from attn2trt.validate.cases import make_cases


class TwoLevels(nn.Module):
    """A fine and a coarse feature map, joined at both sizes."""

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        up = fine + F.interpolate(coarse, scale_factor=2.0)
        return up, torch.cat([F.max_pool2d(fine, 2), coarse], 1).flatten(2)


TIED = "fine.height=8:16:40,fine.width=8:24:40,coarse.height=fine.height/2,coarse.width=fine.width/2"
SHAPES = ((2, 3, 16, 24), (2, 3, 8, 12))


def test_two_levels_of_a_pyramid(tmp_path: Path) -> None:
    target, graph = exported(TwoLevels(), tmp_path, TIED, *SHAPES)
    assert graph.axes == {"fine.height": Axis(8, 16, 40, multiple=2), "fine.width": Axis(8, 24, 40, multiple=2)}
    (_, coarse), (up, joined) = graph.inputs, graph.outputs
    assert coarse.shape == (2, 3, "fine.height/2", "fine.width/2")
    assert up.shape == (2, 3, "fine.height", "fine.width")
    assert joined.resolve({"fine.height": 10, "fine.width": 14}) == (2, 6, 35)
    for sizes in ((8, 40), (18, 10), (38, 22)):
        check_right(target, graph, dict(zip(("fine.height", "fine.width"), sizes, strict=True)))
    declared = onnx.load(graph.path).graph.input[1].type.tensor_type.shape.dim
    assert [dim.dim_param for dim in declared][2:] == ["fine.height/2", "fine.width/2"]


def test_cases_profiles_and_the_manifest_follow() -> None:
    target = from_module(TwoLevels(), [torch.randn(shape) for shape in SHAPES], dynamic=TIED)
    assert tuple(TensorSpec.from_json(spec.to_json()) for spec in target.inputs) == target.inputs
    for case in make_cases(target.inputs, target.axes):
        fine, coarse = (case.feeds[name].shape for name in ("fine", "coarse"))
        assert (fine[2], fine[3]) == (2 * coarse[2], 2 * coarse[3])
    (profile,) = parse_profiles(["fine.height=8:8:16"], target.axes)
    assert profile.shapes(target.inputs[1]) == ((2, 3, 4, 4), (2, 3, 4, 12), (2, 3, 8, 20))
    assert "--minShapes=fine:2x3x8x8,coarse:2x3x4x4" in trtexec_line(target.inputs, target.axes)


class Masked(nn.Module):
    """Attention over a sequence whose mask has both axes of its length."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bias = (mask - 3).clamp(max=0)
        return torch.as_tensor(self.attention(x, x, x, attn_mask=bias, need_weights=False)[0])


def test_a_mask_of_a_dynamic_length(tmp_path: Path) -> None:
    dynamic = "x.dim0=3:6:20,mask.dim0=x.dim0,mask.dim1=x.dim0"
    target, graph = exported(Masked(), tmp_path, dynamic, (6, 2, 8), (6, 6))
    assert [spec.shape for spec in graph.inputs] == [("x.dim0", 2, 8), ("x.dim0", "x.dim0")]
    assert graph.outputs[0].shape == ("x.dim0", 2, 8)
    for size in (3, 5, 17):
        check_right(target, graph, {"x.dim0": size})


def test_tokens_of_an_image(tmp_path: Path) -> None:
    class WithTokens(nn.Module):
        def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
            return tokens + F.avg_pool2d(x, 4).flatten(2).transpose(1, 2)

    dynamic = "height=8:16:40,width=8:24:40,tokens.dim1=(height/4)*(width/4)"
    target, graph = exported(WithTokens(), tmp_path, dynamic, (2, 3, 16, 24), (2, 24, 3))
    assert graph.axes == {"height": Axis(8, 16, 40, multiple=4), "width": Axis(8, 24, 40, multiple=4)}
    for sizes in ((8, 40), (36, 12)):
        check_right(target, graph, dict(zip(("height", "width"), sizes, strict=True)))


def test_a_tie_that_the_module_does_not_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModuleRefused, match=r"(fixes the axis 'fine.height' at 16|holds only for fine.height) .*"):
        exported(TwoLevels(), tmp_path, "fine.height=10:16:40,coarse.height=fine.height-8", *SHAPES)


def test_the_tie_that_would_help_is_reported(tmp_path: Path) -> None:
    dynamic = "fine.height=8:16:40,coarse.height=4:8:20"
    with pytest.raises(ModuleRefused, match=r"tie the axes, with (fine.height=2\*coarse.height|coarse.height=.*) in"):
        exported(TwoLevels(), tmp_path, dynamic, *SHAPES)


class LastChannels(nn.Module):
    """An image with the channels last, permuted and normalised inside of the module."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return torch.as_tensor(self.stem(image.permute(0, 3, 1, 2) / 255 - 0.5))


def test_height_and_width_of_channels_last(tmp_path: Path) -> None:
    dynamic = "batch=1:2:4,height=16:32:64,width=16:40:64"
    target, graph = exported(LastChannels(), tmp_path, dynamic, (2, 32, 40, 3), layout="nhwc")
    assert graph.inputs[0].shape == ("batch", "height", "width", 3)
    check_right(target, graph, {"batch": 3, "height": 17, "width": 63})
    spec = target.inputs[0]
    assert TensorSpec.from_json(spec.to_json()) == spec
    normal = make_cases(target.inputs, target.axes)[0].feeds["image"]
    assert normal.shape == (2, 32, 40, 3)
    # offsets of channels, which hide a mixed-up one if they lie on another axis
    assert np.abs(normal.mean((1, 2))).max() > 3 * np.abs(normal.mean((2, 3)) - normal.mean((1, 2, 3))[:, None]).mean()
