"""Choices between scores that nearly tie: found, moved as far as rounding may, named if a precision can move them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from near_ties import scored_boxes
from torch import Tensor, nn

from attn2trt.core.precision import FLOAT32, LOWER
from attn2trt.validate.cases import Case
from attn2trt.validate.choice import Choice
from attn2trt.validate.comparison import compare
from attn2trt.validate.eager import Eager
from attn2trt.validate.half_precision import Half
from attn2trt.validate.hidden import Hidden
from attn2trt.validate.metrics import Reference
from attn2trt.validate.near_ties import allowed_moves, loose_picks
from attn2trt.validate.reference import references


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
    said, *moved = hidden.findings(nn.Identity())
    assert said.startswith("topk at ")
    assert any(other.startswith("output: float16's rounding decides up to ") for other in moved)
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


def floors(
    function: Callable[[Tensor], Tensor], scores: np.ndarray, precision: str = "fp32"
) -> tuple[Reference, Hidden]:
    hidden = Hidden()
    lower = [Half(precision)] if precision != "fp32" else []
    case = Case.of("one", {"x": scores})
    (found,) = references(Function(function), [case], ("output",), hidden=hidden, lower=lower)
    return found, hidden


def best_rows(count: int) -> Callable[[Tensor], Tensor]:
    """The boxes of the best scores, as a head without suppression gives them."""

    def rows(x: Tensor) -> Tensor:
        best = x[..., 0].topk(count, -1)
        boxes = x[..., 1:].gather(1, best.indices[..., None].expand(-1, -1, x.shape[-1] - 1))
        return torch.cat([boxes, best.values[..., None]], -1)

    return rows


def test_floats_that_a_near_tie_gathers_are_left_out_and_said() -> None:
    found, hidden = floors(best_rows(32), scored_boxes())
    mask = found.floors["output"].unsettled
    assert mask is not None
    assert mask[:, 10:12, :3].all()
    assert not mask[:, :10].any()
    assert not mask[:, 12:].any()
    assert not mask[..., 3].any()  # the scores themselves do not change
    assert found.floors["output"].l2 < 1e-6
    (said,) = hidden.findings(nn.Identity())
    assert said == (
        "output: up to 4.69% of a case's elements are not judged in float32: a choice between scores that it cannot "
        "tell apart decides them"
    )


def test_the_pick_at_the_end_of_the_best_is_left_out_too() -> None:
    found, _ = floors(best_rows(11), scored_boxes())
    mask = found.floors["output"].unsettled
    assert mask is not None
    assert mask[:, 10, :3].all()
    assert not mask[:, :10].any()


def test_what_is_left_out_may_differ_and_nothing_else_may() -> None:
    found, _ = floors(best_rows(32), scored_boxes())
    truth, floor = found.outputs64["output"], found.floors["output"]

    def judged(out: np.ndarray) -> bool:
        return compare("output", out.astype(np.float32), truth, floor, found.largest).passed

    swapped = truth.copy()
    swapped[:, [10, 11]] = swapped[:, [11, 10]]
    assert judged(swapped)
    for rows in ([9, 10], [12, 13]):
        wrong = truth.copy()
        wrong[:, rows] = wrong[:, rows[::-1]]
        assert not judged(wrong)
    swapped[0, 10, 0] = np.nan  # never hidden
    assert not judged(swapped)


def test_a_precision_that_cannot_tell_most_of_them_apart_leaves_nothing_out() -> None:
    scores = scored_boxes()
    scores[..., 0] = np.linspace(0.94, 0.95, 64, dtype=np.float32)  # of those that are equal, the first is the worst
    found, hidden = floors(best_rows(32), scores, "fp16")
    assert found.lower["fp16"]["output"].unsettled is None
    assert found.lower["fp16"]["output"].l2 > 1e-3
    assert any("can pick otherwise in float16" in said for said in hidden.findings(nn.Identity()))
    assert not any("not judged in float16" in said for said in hidden.findings(nn.Identity()))


def test_a_choice_without_near_ties_costs_no_further_run(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = scored_boxes()
    scores[:, 11, 0] -= 0.005
    monkeypatch.setattr(Eager, "run_moved", lambda *_: pytest.fail("moved"))
    found, _ = floors(best_rows(32), scores)
    assert found.floors["output"].unsettled is None


# one row of each image lies within float16's rounding of what ``gated`` compares it with
CLOSE = np.random.default_rng(0).uniform(0.7, 2, (2, 8, 16)).astype(np.float32) * np.array([[[1], [-1]] * 4])
CLOSE[:, 3] = 0.5 + np.linspace(-1e-4, 1e-4, 16)
CLOSE = CLOSE.astype(np.float32)


def gated(threshold: float) -> Callable[[Tensor], Tensor]:
    """Keep what is above a threshold."""
    return lambda y: y * (y > threshold).to(y.dtype)


def test_what_a_close_comparison_decides_is_left_out_and_said() -> None:
    found, hidden = floors(gated(0.55), CLOSE, "fp16")
    floor, truth = found.lower["fp16"]["output"], found.outputs64["output"]
    assert floor.unsettled is not None
    assert floor.unsettled[:, 3].all()
    assert not np.delete(floor.unsettled, 3, axis=1).any()
    assert floor.l2 < 1e-3
    said = hidden.findings(nn.Identity())
    assert any(
        one.startswith("gt at ") and "go the other way in float16 for 32 of 256, which lie" in one for one in said
    )
    assert any("12.50% of a case's elements are not judged in float16" in one for one in said)

    def judged(threshold: float) -> bool:
        out = gated(threshold)(torch.from_numpy(CLOSE * np.float32(1.1))).numpy()
        return compare("output", out, truth, floor, found.largest, precision=LOWER["fp16"]).passed

    assert judged(0.55)
    assert judged(0.5501)  # within the rounding: of the row that is left out
    assert not judged(1.0)


def test_a_close_comparison_whose_sides_meet_decides_nothing() -> None:
    found, hidden = floors(lambda y: torch.where(y > 0.55, y, 0.1 * (y - 0.55) + 0.55), CLOSE, "fp16")
    assert found.lower["fp16"]["output"].unsettled is None
    assert not any("float16" in said for said in hidden.findings(nn.Identity()))


def doubled(mask: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Read and write by two masks, which have to choose as many elements."""

    def function(y: Tensor) -> Tensor:
        y = y.clone()
        y[y > 0.55] = y[mask(y)] * 2
        return y

    return function


def test_two_masks_of_the_same_scores_are_moved_alike() -> None:
    found, _ = floors(doubled(lambda y: y > 0.55), CLOSE, "fp16")
    unsettled = found.lower["fp16"]["output"].unsettled
    assert unsettled is not None
    assert unsettled[:, 3].all()
    assert not np.delete(unsettled, 3, axis=1).any()


def test_a_run_that_other_choices_keep_from_running_leaves_nothing_out() -> None:
    found, _ = floors(doubled(lambda y: -y < -0.55), CLOSE, "fp16")
    assert found.lower["fp16"]["output"].unsettled is None


def fixed_point(y: Tensor) -> Tensor:
    """Sixteenths of a millionth, whose last digit float32 does not have."""
    return (y.tanh() * 2.0**24).round().to(torch.int32)


def test_whole_numbers_most_of_which_rounding_moves_are_judged_by_how_far() -> None:
    x = np.random.default_rng(0).standard_normal((2, 16, 4)).astype(np.float32)
    found, hidden = floors(fixed_point, x)
    truth, floor = found.outputs64["output"], found.floors["output"]
    assert floor.max > 0
    assert any("whole numbers: they are compared by how far" in said for said in hidden.findings(nn.Identity()))

    def judged(out: np.ndarray) -> bool:
        return compare("output", out.astype(np.int32), truth, floor, found.largest).passed

    assert judged(found.outputs32["output"])
    assert judged(truth)
    assert not judged(truth * 1.001)
    assert not judged(np.zeros_like(truth))
    off = truth.copy()
    off[0, 3, 2] += 1000
    assert not judged(off)
