"""Of equal scores the first in order is picked by every run that judges, as ONNX has it and PyTorch need not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import attn2trt
from attn2trt.core.precision import FP32
from attn2trt.validate.cases import Case
from attn2trt.validate.equal_scores import in_order_mode
from attn2trt.validate.half_precision import Half
from attn2trt.validate.reference import references
from attn2trt.validate.verdict import Verdict

# 300 places: so many that PyTorch's own topk picks others than the first ones
FLAT = torch.zeros(2, 300)
STEPS = torch.tensor([[3.0, 1.0, 3.0, 2.0, 1.0, 3.0]])


@pytest.mark.parametrize(
    "x", [FLAT, FLAT.to(torch.int64), STEPS, STEPS.half(), torch.tensor([[1.0, torch.nan, torch.nan]])]
)
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("largest", [True, False])
def test_a_ranking_has_equal_scores_in_their_order(x: Tensor, dim: int, largest: bool) -> None:
    k = min(2, x.shape[dim])
    keys = np.where(np.isnan(x.double().numpy()), np.inf, x.double().numpy()) * (-1 if largest else 1)
    expected = torch.from_numpy(np.argsort(keys, dim, kind="stable"))
    with in_order_mode():
        best = x.topk(k, dim, largest)
        ranked = x.sort(dim, descending=largest)
        places = x.argsort(dim, descending=largest)
        out = torch.sort(x, dim=dim, descending=largest, stable=True)
    assert torch.equal(best.indices, expected.narrow(dim, 0, k))
    for found in (ranked.indices, places, out.indices):
        assert torch.equal(found, expected)
    assert torch.equal(best.values, x.gather(dim, best.indices)) or x.isnan().any()
    assert best.values.dtype == x.dtype


@pytest.mark.parametrize("x", [FLAT, STEPS, torch.tensor([[1.0, torch.nan, 0.0]])])
@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize("keepdim", [True, False])
def test_so_has_one_place_of_the_order(x: Tensor, dim: int, keepdim: bool) -> None:
    """PyTorch's values, and the first place that is left of equal ones; among NaN PyTorch's own place."""
    middle = (x.shape[dim] - 1) // 2
    with in_order_mode():
        found = x.median(dim, keepdim), x.kthvalue(middle + 1, dim, keepdim)
    for one, own in zip(found, (x.median(dim, keepdim), x.kthvalue(middle + 1, dim, keepdim)), strict=True):
        assert torch.equal(one.values.nan_to_num(9), own.values.nan_to_num(9))
        assert type(one) is type(own)
    if not x.isnan().any():
        expected = x.argsort(dim=dim, stable=True).narrow(dim, middle, 1)
        assert all(torch.equal(one.indices, expected if keepdim else expected.squeeze(dim)) for one in found)


def test_a_scalar_and_what_ranks_nothing_are_left_alone() -> None:
    with in_order_mode():
        assert torch.tensor(3.0).topk(1).values == torch.tensor(3.0).kthvalue(1).values == 3
        assert torch.tensor(3.0).median(0).values == 3
        assert torch.equal(STEPS + 1, STEPS + torch.ones(()))


class Strongest(nn.Module):
    """The strongest places of an image, scattered back."""

    def __init__(self, function: Callable[[Tensor], Tensor] = lambda scores: scores.topk(5, -1)[1]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        places = self.function(tokens.sum(1)).unsqueeze(1).expand(-1, tokens.shape[1], -1)
        return tokens.scatter(2, places, tokens.gather(2, places).softmax(-1)).view(x.shape)


def test_the_truth_and_every_floor_pick_the_same_of_equal_scores() -> None:
    zeros = np.zeros((1, 3, 12, 16), np.float32)
    found = next(references(Strongest(), [Case.of("zeros", {"x": zeros})], ("y",), lower=[Half("fp16")]))
    picked = found.outputs64["y"].reshape(3, -1)
    assert (picked[:, :5] == 0.2).all()
    assert not picked[:, 5:].any()
    assert found.floors["y"].l2 < 1e-6
    assert found.lower["fp16"]["y"].l2 < 1e-3


def test_a_graph_that_picks_the_first_of_equal_scores_passes(tmp_path: Path) -> None:
    module, x = Strongest(), torch.randn(2, 3, 6, 8)
    bundle = attn2trt.deploy(
        module, (x,), dynamic="batch=1:2:3", precision=FP32, capabilities="none", out=tmp_path / "b"
    )
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    assert verdict, [stage.why for stage in verdict.stages]
    assert any(case["name"] == "zeros" for case in bundle.manifest["cases"])
