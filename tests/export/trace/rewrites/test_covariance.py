"""Covariances and correlations that are spelt out equal PyTorch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sized import check_right, exported
from torch import Tensor, nn

from attn2trt.export.trace.rewrites.calls import bound
from attn2trt.export.trace.rewrites.covariance import REWRITES

pytestmark = pytest.mark.filterwarnings("ignore:cov")  # degrees of freedom <= 0
COUNTS = torch.tensor([2, 1, 0, 3, 1, 2, 1])
IMPORTANCE = torch.tensor([0.5, 0.1, 0.9, 0.0, 0.3, 0.2, 0.7])


def rewritten(function: Any, *args: Any, **options: Any) -> Any:
    names, rewrite = REWRITES[function]
    return rewrite(bound(names, args, options))


def assert_equal(function: Any, *args: Any, **options: Any) -> None:
    torch.testing.assert_close(rewritten(function, *args, **options), function(*args, **options), equal_nan=True)


@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (7,)])
@pytest.mark.parametrize("correction", [0, 1, 2, 40])
@pytest.mark.parametrize("counts", [None, COUNTS])
@pytest.mark.parametrize("importance", [None, IMPORTANCE])
def test_covariances(shape: tuple[int, ...], correction: int, counts: Tensor | None, importance: Tensor | None) -> None:
    x = torch.randn(shape) + 3
    for function in (torch.cov, Tensor.cov):
        assert_equal(function, x, correction=correction, fweights=counts, aweights=importance)


@pytest.mark.parametrize("function", [torch.cov, torch.corrcoef, Tensor.corrcoef])
@pytest.mark.parametrize(
    "x", [torch.tensor(3.0), torch.ones(3, 1), torch.zeros(3, 4), torch.arange(12).view(3, 4), torch.randn(4, 9)]
)
def test_odd_shapes_and_values(function: Any, x: Tensor) -> None:
    assert_equal(function, x)


def test_complex_numbers_are_left_to_pytorch() -> None:
    x = torch.randn(3, 4, dtype=torch.complex64)
    assert (rewritten(torch.cov, x), rewritten(torch.corrcoef, x)) == (None, None)


class Covariances(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", COUNTS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pixels = x.mean(0).flatten(1)
        return torch.cov(pixels), torch.corrcoef(pixels), pixels.t().cov(correction=2, fweights=self.counts).diag()


def test_the_graph_gives_what_pytorch_does_at_any_size(tmp_path: Path) -> None:
    dynamic = "batch=1:2:3,height=2:4:6,width=3:5:7"
    target, graph = exported(Covariances(), tmp_path, dynamic, (2, 7, 4, 5), layout="nchw")
    for sizes in ({"batch": 1, "height": 2, "width": 3}, {"batch": 3, "height": 6, "width": 7}):
        check_right(target, graph, sizes)
