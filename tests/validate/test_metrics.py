"""The comparison catches what it must, and lets rounding pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from attn2trt.validate.comparison import NOTHING, Comparison, compare
from attn2trt.validate.metrics import BETWEEN_RUNS, LIMIT, UNIT_ROUNDOFF, Floor, measure

SHAPE = (2, 512, 7, 7)


def truth(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def rounded(ref: np.ndarray, seed: int = 1, size: float = 4.0) -> np.ndarray:
    """The truth with a few roundings of noise, as a healthy float32 computation returns it."""
    noise = np.random.default_rng(seed).standard_normal(ref.shape)
    return (ref * (1 + size * UNIT_ROUNDOFF * noise)).astype(np.float32)


def judged(out: Any, ref: np.ndarray, floor: Floor | None = None, largest: float = 1.0, **options: Any) -> Comparison:
    return compare("y", out, ref, floor or measure(rounded(ref), ref), largest, **options)


def test_another_healthy_rounding_passes() -> None:
    found = judged(rounded(truth(), seed=2), truth())
    assert found.passed
    assert 0 < found.ratio < 2
    assert found.error == pytest.approx(4 * UNIT_ROUNDOFF, rel=0.2)


def test_one_slightly_wrong_channel_of_512_fails_though_l2_hides_it() -> None:
    out = rounded(truth(), seed=2)
    out[:, 300] *= np.float32(1 + 30 * 4 * UNIT_ROUNDOFF)
    found = judged(out, truth())
    assert (found.passed, found.which, found.worst_index) == (False, "channel", (1, 300))
    assert "axis 1, index 300" in found.detail
    assert measure(out, truth()).l2 / measure(rounded(truth()), truth()).l2 < LIMIT


def test_a_quiet_wrong_channel_beside_a_loud_one_fails() -> None:
    ref = truth()
    ref[:, 7] *= 1e3
    out = rounded(ref, seed=2)
    out[:, 300] *= np.float32(1.01)
    found = judged(out, ref)
    assert (found.passed, found.which, found.worst_index) == (False, "channel", (1, 300))


def test_one_wrong_border_column_fails() -> None:
    ref = truth((1, 4, 128, 128))
    out = rounded(ref, seed=2)
    out[..., -1] *= np.float32(1 + 30 * 4 * UNIT_ROUNDOFF)
    found = judged(out, ref)
    assert (found.passed, found.worst_index) == (False, (3, 127))


def test_one_wrong_element_fails() -> None:
    out = rounded(truth(), seed=2)
    out[1, 5, 3, 3] += np.float32(1e-3)
    found = judged(out, truth())
    assert not found.passed
    assert found.ratio > LIMIT


def test_the_whole_output_is_judged_where_an_element_and_a_slice_may_lose_much() -> None:
    ref = truth((50, 20))
    floor = measure(rounded(ref), ref)
    loose = Floor(floor.l2, 1e3 * floor.max, 1e3 * floor.channel)
    out = ref * (1 + 100 * UNIT_ROUNDOFF)
    found = judged(out, ref, loose)
    assert (found.passed, found.which) == (False, "l2")
    assert found.ratio == pytest.approx(100 * UNIT_ROUNDOFF / floor.l2)


@pytest.mark.parametrize("shape", [(), (5,), (3, 1000), (2, 49, 96)])
def test_every_rank_is_judged(shape: tuple[int, ...]) -> None:
    ref = truth(shape)
    assert judged(rounded(ref, seed=2, size=1.0), ref).passed
    assert not judged(np.float32(1.001) * rounded(ref), ref).passed


def test_a_dead_channel_is_judged_on_the_scale_of_the_whole_output() -> None:
    ref = truth()
    ref[:, 9] = 0
    out = rounded(ref, seed=2)
    out[:, 9] = 1e-8
    assert judged(out, ref).passed
    out[:, 9] = 1e-2
    found = judged(out, ref)
    assert (found.passed, found.worst_index) == (False, (1, 9))


def test_a_lucky_floor_counts_as_one_unit_roundoff() -> None:
    ref = truth()
    exact = Floor(0.0, 0.0, np.zeros(512 + 7 + 7))
    assert judged(rounded(ref, size=1.0), ref, exact).passed
    assert not judged(rounded(ref, size=100.0), ref, exact).passed


def test_a_channel_that_rounded_luckily_has_the_usual_floor() -> None:
    floor = measure(rounded(truth()), truth())
    floor.channel[3] = 0.0
    assert judged(rounded(truth(), seed=2), truth(), floor).passed


def test_a_budget_holds_whatever_the_floor_is() -> None:
    ref = truth()
    loose = measure(rounded(ref, size=1000.0), ref)
    found = judged(rounded(ref, seed=2, size=1000.0), ref, loose)
    assert (found.passed, found.which) == (False, "budget")
    assert "PyTorch's own float32 loses" in found.detail
    assert judged(rounded(ref, seed=2, size=1000.0), ref, loose, budget=1e-3).passed


def test_a_number_just_above_its_limit_is_told_from_it() -> None:
    ref = truth()
    found = judged(ref * 1.00010001, ref, measure(ref * 1.00010001, ref), budget=1e-4)
    assert "error 0.00010001 is above the budget 0.0001; PyTorch's own float32 loses 0.00010001" in found.detail


def test_nan_in_both_places_passes_and_in_one_place_fails() -> None:
    ref = truth()
    ref[0, 0, 0, 0] = math.nan
    out = rounded(ref, seed=2)
    assert judged(out, ref).passed
    out[0, 0, 0, 1] = math.nan
    found = judged(out, ref)
    assert (found.passed, found.which, found.worst_index) == (False, "nan", (0, 0, 0, 1))
    out = rounded(ref, seed=2)
    out[0, 0, 0, 0] = 1.0
    assert judged(out, ref).which == "nan"


def test_infinities_must_have_the_same_sign_and_place() -> None:
    ref = truth()
    ref[1, 2, 3, 4] = math.inf
    floor = measure(np.where(np.isinf(ref), np.inf, rounded(np.where(np.isinf(ref), 0, ref))), ref)
    out = ref.astype(np.float32)
    assert judged(out, ref, floor).passed
    out[1, 2, 3, 4] = -math.inf
    assert judged(out, ref, floor).which == "nan"
    out[1, 2, 3, 4] = 3e38
    assert not judged(out, ref, floor).passed


def test_a_reference_that_is_nan_all_over_proves_nothing() -> None:
    ref = np.full(SHAPE, math.nan)
    found = judged(ref.astype(np.float32), ref, Floor(0.0, 0.0, np.zeros(526)))
    assert not found.passed
    assert found.which == NOTHING
    assert "PyTorch itself gives no finite number: nothing could be compared" in found.detail
    assert "--dynamic batch=2:4:8" in found.detail


def test_a_floor_that_is_not_finite_refuses_the_precision() -> None:
    ref = truth() * 1e30
    overflowed = rounded(ref)
    overflowed[0, 0, 0, 0] = math.inf
    found = judged(rounded(ref, seed=2), ref, measure(overflowed, ref))
    assert (found.passed, found.which) == (False, "floor")


def test_a_zero_reference_is_judged_against_what_was_met_on_the_way() -> None:
    zero = np.zeros(SHAPE)
    floor = measure(np.zeros(SHAPE, np.float32), zero)
    assert judged(np.zeros(SHAPE, np.float32), zero, floor, largest=10.0).passed
    near = np.full(SHAPE, 10 * UNIT_ROUNDOFF, np.float32)
    assert judged(near, zero, floor, largest=10.0).passed
    found = judged(100 * near, zero, floor, largest=10.0)
    assert (found.passed, found.which) == (False, "absolute")
    assert not judged(near, zero, floor, largest=0.0).passed


def test_cancellation_below_what_float32_can_tell_from_zero_is_absolute() -> None:
    ref = np.full((2, 3), 1e-17)
    floor = measure(np.zeros((2, 3), np.float32), ref)
    assert judged(np.full((2, 3), 1e-8, np.float32), ref, floor, largest=1.0).passed
    assert not judged(np.full((2, 3), 1e-5, np.float32), ref, floor, largest=1.0).passed


def test_a_classifier_reports_on_how_many_rows_the_best_class_agrees() -> None:
    ref = truth((6, 1000))
    found = judged(rounded(ref, seed=2), ref)
    assert (found.passed, found.settled_rows, found.agreeing_rows) == (True, 6, 6)
    assert judged(rounded(truth()), truth()).settled_rows == 0


def test_a_settled_best_class_that_differs_fails_within_limit_and_budget() -> None:
    ref = np.zeros((2, 10))
    ref[:, 3], ref[:, 4] = 1.0, 1.0 - 1.1 * BETWEEN_RUNS * 1e-7
    floor = Floor(2e-7, 1e-7, np.full(10, 1e-6))
    out = ref.astype(np.float32)
    out[1, 3] -= np.float32(0.6 * BETWEEN_RUNS * 1e-7)
    out[1, 4] += np.float32(0.6 * BETWEEN_RUNS * 1e-7)
    found = judged(out, ref, floor)
    assert found.ratio < LIMIT
    assert (found.passed, found.which, found.settled_rows, found.agreeing_rows) == (False, "top1", 2, 1)
    assert "class 4 instead of 3 in row 1" in found.detail


def test_a_tie_that_rounding_decides_is_not_counted() -> None:
    ref = np.zeros((2, 10))
    ref[:, 3], ref[:, 4] = 1.0, 1.0 - 1e-7
    ref[1, 3] = 2.0
    out = ref.astype(np.float32)
    out[0, 4] += np.float32(3e-7)
    found = judged(out, ref, Floor(2e-7, 1e-7, np.full(10, 1e-6)))
    assert (found.passed, found.settled_rows, found.agreeing_rows) == (True, 1, 1)


def test_a_row_of_scores_that_are_not_finite_is_never_settled() -> None:
    ref = np.array([[1.0, math.inf, 0.0], [1.0, 2.0, 0.0]])
    assert judged(ref.astype(np.float32), ref, Floor(1e-7, 1e-7, np.full(3, 1e-7))).settled_rows == 1


def test_an_int_off_by_one_fails() -> None:
    ref = np.arange(12).reshape(3, 4)
    assert judged(ref.copy(), ref, Floor(0.0, 0.0)).passed
    out = ref.copy()
    out[1, 2] += 1
    found = judged(out, ref, Floor(0.0, 0.0))
    assert (found.passed, found.which, found.worst_index) == (False, "exact", (1, 2))


def test_a_flipped_bool_fails() -> None:
    ref = np.array([True, False])
    assert judged(ref.copy(), ref, Floor(0.0, 0.0)).passed
    assert not judged(~ref, ref, Floor(0.0, 0.0)).passed


def test_an_argmax_may_differ_only_where_rounding_decides() -> None:
    ref = np.array([4, 7, 1])
    tie = Floor(0.0, 0.0, unsettled=np.array([False, True, False]))
    found = judged(np.array([4, 8, 1]), ref, tie)
    assert found.passed
    assert "1 ties" in found.detail
    assert not judged(np.array([5, 7, 1]), ref, tie).passed


@pytest.mark.parametrize("wrong", [(1, 512, 7, 7), (2, 512, 49), (2, 512, 7, 7, 1)])
def test_a_wrong_shape_fails(wrong: tuple[int, ...]) -> None:
    found = judged(np.zeros(wrong, np.float32), truth())
    assert (found.passed, found.which) == (False, "shape")
    assert "expected (2, 512, 7, 7)" in found.detail


def test_a_shape_that_would_broadcast_fails() -> None:
    ref = np.ones((4, 8))
    assert judged(np.ones((1, 8), np.float32), ref).which == "shape"


def test_a_wrong_dtype_fails() -> None:
    assert judged(truth(), truth(), dtype=np.float32).which == "dtype"
    assert judged(truth().astype(np.int64), truth()).which == "dtype"
    assert judged(np.ones(3, np.float32), np.ones(3, np.int64), Floor(0.0, 0.0)).which == "dtype"
    assert judged(np.ones(3, np.int32), np.ones(3, np.int64), Floor(0.0, 0.0), dtype=np.int64).which == "dtype"


def test_an_empty_output_is_equal_to_an_empty_one() -> None:
    assert judged(np.zeros((0, 4), np.float32), np.zeros((0, 4))).passed


def test_floors_keep_the_larger_part() -> None:
    low, high = Floor(1.0, 5.0, np.array([1.0, 9.0])), Floor(2.0, 4.0, np.array([3.0, 2.0]))
    joined = low.or_larger(high)
    assert (joined.l2, joined.max, joined.channel.tolist()) == (2.0, 5.0, [3.0, 9.0])
    assert low.or_larger(Floor(9.0, 9.0, np.zeros(3))).channel.tolist() == [1.0, 9.0]


def test_zeros_are_judged_absolutely_whatever_pytorch_loses_on_them() -> None:
    """Float32 leaves a trace at float64's exact zeros: its relative floor is infinite, and says nothing."""
    zeros = np.zeros((1, 2, 3, 3))
    floor = measure(np.full(zeros.shape, 1e-9, np.float32), zeros)
    assert not floor.is_finite
    assert compare("y", np.full(zeros.shape, 2e-8, np.float32), zeros, floor, 1.0).passed
    assert not compare("y", np.full(zeros.shape, 1e-5, np.float32), zeros, floor, 1.0).passed
