"""Maximum pooling whose places are wanted is a choice in every window, which its graph makes, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sized import exported
from torch import Tensor, nn
from torch.nn import functional as F

from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.validate.choice import Choice
from attn2trt.validate.own_choices.graph_choices import shown_choices
from attn2trt.validate.own_choices.pairing import paired
from attn2trt.validate.selections import Choices, Given, Moved

X = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0)).round(decimals=1)  # with equal numbers
OPTIONS: tuple[dict[str, Any], ...] = (
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0), "dilation": (2, 3)},
)


def noted(x: Tensor, **options: Any) -> tuple[Any, list[Choice]]:
    with Choices() as choices:
        return F.max_pool2d(x, **options), choices.take()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("x", [X, X[0].double(), X.half(), X.relu()], ids=["batch", "image", "half", "zeros"])
def test_it_gives_what_pytorch_does_and_is_one_choice(x: Tensor, options: dict[str, Any]) -> None:
    (maxima, places), (choice,) = noted(x, return_indices=True, **options)
    own = F.max_pool2d(x, return_indices=True, **options)
    assert torch.equal(maxima, own[0])
    assert torch.equal(places, own[1])
    assert choice.operator == "argmax"
    assert choice.scores.shape[:-1] == tuple(maxima.shape)
    assert np.array_equal(choice.scores.max(-1), maxima.double().numpy())


VOLUME = torch.randn(2, 2, 5, 6, 7, generator=torch.Generator().manual_seed(0)).round(decimals=1)
OTHERS: tuple[tuple[Any, Tensor, dict[str, Any]], ...] = (
    (F.max_pool1d, X[0], {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True}),
    (F.max_pool1d, X[0, 0], {"kernel_size": 2}),
    (F.max_pool3d, VOLUME, {"kernel_size": (2, 3, 2), "stride": (1, 2, 3), "padding": (1, 1, 0)}),
    (F.max_pool3d, VOLUME[0], {"kernel_size": 2, "dilation": 2, "ceil_mode": True}),
    (F.adaptive_max_pool1d, X[0], {"output_size": 4}),
    (F.adaptive_max_pool2d, X, {"output_size": (4, None)}),
    (F.adaptive_max_pool3d, VOLUME, {"output_size": (2, 5, 1)}),
)


@pytest.mark.parametrize(("pool", "x", "options"), OTHERS)
def test_so_is_one_of_lines_or_volumes(pool: Any, x: Tensor, options: dict[str, Any]) -> None:
    with Choices() as choices:
        maxima, places = pool(x, return_indices=True, **options)
        pool(x, **options)
    (choice,) = choices.take()
    own = pool(x, return_indices=True, **options)
    assert torch.equal(maxima, own[0])
    assert torch.equal(places, own[1])
    assert choice.scores.shape[:-1] == tuple(maxima.shape)


def test_nothing_else_is_one() -> None:
    assert not noted(X, kernel_size=2)[1]
    assert not noted(torch.full((1, 1, 2, 2), torch.nan), kernel_size=2, return_indices=True)[1]


def test_it_picks_what_it_is_given() -> None:
    with Given({0: np.full((2, 3, 4, 5), 3)}, [0]) as given:
        maxima, places = F.max_pool2d(X, 2, return_indices=True)
    assert torch.equal(maxima, X[:, :, 1:8:2, 1:10:2])
    assert places[0, 0, 1, 2] == 3 * 11 + 5
    assert given.scores[0].shape == (2, 3, 4, 5, 4)


def test_it_picks_by_scores_that_are_moved() -> None:
    far = np.zeros((1, 1, 1, 1, 4))
    x = torch.tensor([[[[1.0, 0.0], [0.9, 0.0]]]])
    for by, place in ((0.0, 0), (0.2, 2)):
        with Moved([far + by], 0):
            maxima, places = F.max_pool2d(x, 2, return_indices=True)
        assert places.item() == place
        assert maxima.item() == x.flatten()[place]


class Unpooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=x.shape)


class UnpooledLines(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2, output_size=x.shape)


class UnpooledVolume(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2, output_size=x.shape)


@pytest.mark.parametrize(
    ("module", "x"),
    [
        pytest.param(Unpooled(), X, marks=pytest.mark.slow),
        (UnpooledLines(), X[:, 0]),
        pytest.param(UnpooledVolume(), VOLUME, marks=pytest.mark.slow),
    ],
)
def test_the_choice_of_its_graph_stands_for_it(tmp_path: Path, module: nn.Module, x: Tensor) -> None:
    _, graph = exported(module, tmp_path, "batch=1:2:4", tuple(x.shape))
    with Choices() as choices:
        module(x)
    with shown_choices(graph.path) as shown:
        assert shown is not None
        feeds = {"x": x.numpy()}
        (found,) = paired(shown.picked(feeds, OrtRuntime(shown.path).run(feeds)), own := choices.take()).items()
    assert found[0] == 0
    assert np.array_equal(found[1].scores, own[0].scores)
    assert np.array_equal(found[1].places.reshape(-1), own[0].picked.reshape(-1))
