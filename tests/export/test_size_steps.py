"""Pyramids and other modules that take some sizes alone: right at each multiple that is claimed, or refused clearly."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sized import check_right, exported
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.core.tensor_spec import Axis
from attn2trt.errors import InputError, ModuleRefused, SizesRefused
from attn2trt.modules.own_module import from_module

IMAGE = (2, 3, 16, 24)
RANGES = "height=8:16:40,width=8:24:40"


class Neck(nn.Module):
    """Two strided convolutions, one step up again, a concatenation: the smallest neck of a detector."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, kernel, 2, kernel // 3)
        self.second = nn.Conv2d(4, 4, kernel, 2, kernel // 3)
        self.mix = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.first(x)
        return torch.as_tensor(self.mix(torch.cat([F.interpolate(self.second(fine), scale_factor=2.0), fine], 1)))


class PooledPyramid(nn.Module):
    """The same without a weight: every pooling rounds down."""

    def forward(self, x: Tensor) -> Tensor:
        fine = F.max_pool2d(x, 2)
        return fine + F.interpolate(F.max_pool2d(fine, 2), scale_factor=2.0)


class DeepPyramid(nn.Module):
    """Three levels, each resized up to the next by a factor, with paddings that are computed by ``math.ceil``."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        levels = [x]
        for _ in range(3):
            h, w = levels[-1].shape[-2:]
            extra_h, extra_w = (math.ceil(h / 2) - 1) * 2 - h + 3, (math.ceil(w / 2) - 1) * 2 - w + 3
            padded = F.pad(levels[-1], [extra_w // 2, extra_w - extra_w // 2, extra_h // 2, extra_h - extra_h // 2])
            levels.append(F.avg_pool2d(padded, 3, 2))
        for index in (2, 1):
            levels[index] = levels[index] + F.interpolate(levels[index + 1], scale_factor=2.0)
        return tuple(levels[1:])


@pytest.mark.parametrize(
    ("make", "step"),
    [(Neck, 4), (lambda: Neck(2), 4), (PooledPyramid, 4), (DeepPyramid, 8)],
    ids=["overlapping", "patches", "pooled", "deep"],
)
def test_a_pyramid_is_narrowed_to_multiples_of_its_stride(
    make: Callable[[], nn.Module], step: int, tmp_path: Path
) -> None:
    target, graph = exported(make(), tmp_path, RANGES, IMAGE)
    assert graph.axes == {"height": Axis(8, 16, 40, multiple=step), "width": Axis(8, 24, 40, multiple=step)}
    for sizes in ((8, 40), (40, 8), (24, 16), (32, 32)):
        check_right(target, graph, dict(zip(("height", "width"), sizes, strict=True)))


def test_the_ends_of_a_range_need_not_be_multiples(tmp_path: Path) -> None:
    _, graph = exported(Neck(), tmp_path, "height=6:16:39,width", IMAGE)
    assert graph.axes == {"height": Axis(8, 16, 36, multiple=4), "width": Axis(12, 24, 48, multiple=4)}


def test_a_step_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    target, graph = exported(Neck(), tmp_path, "height=8:16:40:8,width=24:24:48:12", IMAGE)
    assert graph.axes == target.axes == {"height": Axis(8, 16, 40, 8), "width": Axis(24, 24, 48, 12)}
    check_right(target, graph, {"height": 32, "width": 36})


def test_a_smallest_size_that_the_module_cannot_take_is_reported(tmp_path: Path) -> None:
    class OfLargeImages(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[2] < 10:
                raise ValueError("too small")
            return x.relu()

    with pytest.raises(ModuleRefused, match=r"holds only for height 10 to 40 at .*; .*narrow it to height=10:16:40"):
        exported(OfLargeImages(), tmp_path, "height=8:16:40", IMAGE)


def test_a_size_that_an_operator_does_not_take_is_reported_as_it_says(tmp_path: Path) -> None:
    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(F.max_pool2d(x, 2), 2)

    message = (
        r"received x=2x3x3x24 for Halves, which raised RuntimeError: .*too small at .*test_size_steps.py:.*; "
        r"expected sizes that its forward takes; narrow it to height=4:16:40, or change --shape or --dynamic"
    )
    with pytest.raises(SizesRefused, match=message):
        exported(Halves(), tmp_path, "height=2:16:40", IMAGE)


def test_a_factor_of_a_size_is_reported_as_a_factor(tmp_path: Path) -> None:
    class ScaledPositions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions = nn.Parameter(torch.randn(1, 3, 6, 6))

        def forward(self, x: Tensor) -> Tensor:
            factors = ((x.shape[2] // 4 + 0.1) / math.sqrt(36), (x.shape[3] // 4 + 0.1) / 6)
            return x.mean() + F.interpolate(self.positions, scale_factor=factors, mode="bicubic")

    with pytest.raises(ModuleRefused) as caught:
        exported(ScaledPositions(), tmp_path, RANGES, IMAGE)
    assert re.search(
        r"holds only for height 16 to 19 at .*test_size_steps.py:\d+ `.*scale_factor.*`; "
        r"give F.interpolate the size in place of scale_factor.*narrow it to height=16:16:19 in --dynamic$",
        str(caught.value),
    )


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_a_recurrent_layer_is_reported_with_its_line(layer: type[nn.RNNBase], tmp_path: Path) -> None:
    class Columns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.over = layer(3, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.over(x.mean(2).transpose(1, 2))[0])

    reason = (
        rf"fixes the axis 'width' at 24 at .*test_size_steps.py:\d+ .*nn.{layer.__name__} for one size alone: leave"
    )
    with pytest.raises(ModuleRefused, match=reason):
        exported(Columns(), tmp_path, "width=8:24:40", IMAGE)


def test_an_axis_that_inputs_share_by_chance_is_reported() -> None:
    class Scaled(nn.Module):
        def forward(self, image: Tensor, size: Tensor) -> Tensor:
            return image * size[0] / size[1]

    inputs = {"image": torch.randn(2, 3, 8, 8), "size": torch.ones(2)}
    reason = r"batch is axis 0 of image and axis 0 of size: .* write --dynamic image.batch=1:2:16"
    with pytest.raises(InputError, match=reason):
        from_module(Scaled(), inputs, dynamic="batch").build()
    from_module(Scaled(), inputs, dynamic="image.batch").build()


def test_an_axis_that_has_no_name_is_advised_by_its_number() -> None:
    gru = nn.GRU(8, 4, bidirectional=True, batch_first=True)
    inputs = {"input": torch.randn(2, 5, 8), "hx": torch.randn(2, 2, 4)}
    with pytest.raises(InputError, match=r"write --dynamic input.dim0=1:2:16; else"):
        from_module(gru, inputs, dynamic="batch").build()
    from_module(gru, inputs, dynamic="input.dim0,hx.dim1=input.dim0").build()
