"""Choices between scores that nearly tie: found, moved as far as rounding may, named if a precision can move them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attn2trt.core.precision import FLOAT32, LOWER
from attn2trt.validate.cases import Case
from attn2trt.validate.half_precision import Half
from attn2trt.validate.hidden import Hidden
from attn2trt.validate.reference import references
from attn2trt.validate.selections import Choice, allowed_moves, loose_picks


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x * 1.1)


# The first two scores of each row are this far from each other, of the largest.
GAPS = np.array([0.0, 1e-7, 3e-4, 1e-3, 0.2], np.float32)
SCORES = np.stack([np.stack([np.full(5, 0.7, np.float32), 0.7 - GAPS, np.full(5, 0.1, np.float32)], 1)] * 2)


def unsettled(function: Callable[[Tensor], Tensor], precision: str) -> tuple[list[bool], Hidden]:
    hidden = Hidden()
    lower = [Half(precision)] if precision != "fp32" else []
    case = Case.of("one", {"x": SCORES})
    (found,) = references(Function(function), [case], ("output",), hidden=hidden, lower=lower)
    floors = found.floors if precision == "fp32" else found.lower[precision]
    mask = floors["output"].unsettled
    assert mask is not None
    return mask[0].reshape(-1).tolist(), hidden


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.argmax(-1),
        lambda x: x.max(-1).indices,
        lambda x: (-x).argmin(-1),
        lambda x: (-x).min(-1, keepdim=True)[1],
        lambda x: (x * 7).softmax(-1).argmax(-1).to(torch.int32),
    ],
)
def test_near_ties_are_unsettled_and_clear_winners_are_not(function: Callable[[Tensor], Tensor]) -> None:
    for precision, ties in {"fp32": 2, "fp16": 3}.items():
        mask, _ = unsettled(function, precision)
        assert all(mask[:ties]), precision
        assert not mask[-1], precision


def test_a_mask_of_exact_zeros_is_settled() -> None:
    mask, _ = unsettled(lambda x: (x - 0.3).relu() > 0, "fp32")
    assert not any(mask)


def test_a_threshold_that_a_score_nearly_meets_is_not() -> None:
    mask, _ = unsettled(lambda x: x[..., 1] > 0.77, "fp32")
    assert mask == [True, True, False, False, False]


def test_choices_that_a_precision_can_move_are_named_with_their_line() -> None:
    _, hidden = unsettled(lambda x: x.topk(2, -1).indices, "fp16")
    (said,) = hidden.findings(nn.Identity())
    assert said.startswith("topk at ")
    assert "test_selections.py:" in said
    assert "can pick otherwise in float16 for " in said
    _, hidden = unsettled(lambda x: (x * torch.tensor([3.0, 2.0, 1.0])).argmax(-1), "fp16")
    assert hidden.findings(nn.Identity()) == []


def test_scores_that_do_not_correspond_are_not_moved() -> None:
    one, other = (Choice("argmax", "", np.zeros(shape), None) for shape in (3, 4))
    assert allowed_moves([one], [other], FLOAT32) == []
    assert loose_picks([one], [other], []) == {}


def test_what_differs_behind_another_choice_does_not_count_as_rounding() -> None:
    one, other = (Choice("argmax", "", scores, np.zeros(())) for scores in (np.array([1.0, 2.0]), np.array([9.0, 2.0])))
    (far,) = allowed_moves([one], [other], LOWER["fp16"])
    assert far.max() == LOWER["fp16"].between_runs * LOWER["fp16"].budget * 2
