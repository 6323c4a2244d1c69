"""The interval of a difference holds what it promises, and needs rounds enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from attn2trt.engines.timing.paired import CONFIDENCE, Difference, Pair, coverage
from attn2trt.engines.timing.rounds import Samples


def test_rounds_are_compared_in_pairs() -> None:
    drift = np.linspace(0, 100, 12)
    found = Difference.between(list(10 + drift), list(11 + drift))
    assert (found.ms, found.low_ms, found.high_ms) == pytest.approx((1, 1, 1))
    assert found.is_clear
    assert found.rounds == 12


def test_the_interval_is_the_narrowest_that_is_sure_enough() -> None:
    found = Difference.between([0.0] * 12, [float(n) for n in range(12)])
    assert (found.ms, found.low_ms, found.high_ms) == (5.5, 2, 9)  # the third from either end
    assert found.confidence == pytest.approx(1 - 2 * (1 + 12 + 66) / 2**12)
    assert coverage(12, 4) < CONFIDENCE <= coverage(12, 3)


def test_one_round_that_went_wrong_does_not_decide() -> None:
    found = Difference.between([1.0] * 12, [1.1] * 11 + [500.0])
    assert found.high_ms == pytest.approx(0.1)


@pytest.mark.parametrize(("rounds", "confidence"), [(1, 0), (2, 0.5), (5, 0.9375), (6, 0.96875)])
def test_few_rounds_say_how_little_they_are_sure_of(rounds: int, confidence: float) -> None:
    found = Difference.between([1.0] * rounds, [2.0] * rounds)
    assert found.confidence == confidence
    assert found.is_clear == (confidence >= CONFIDENCE)


def test_a_difference_that_may_be_nothing_is_not_clear() -> None:
    assert not Difference.between([0.0] * 12, [-1.0] * 6 + [1.0] * 6).is_clear
    assert Difference.between([1.0] * 12, [0.0] * 12).is_clear


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(2000, 12)) - np.log(2)  # skewed, its median 0
    found = [Difference.between([0.0] * 12, list(row)) for row in samples]
    assert np.mean([each.low_ms <= 0 <= each.high_ms for each in found]) == pytest.approx(
        found[0].confidence, abs=0.015
    )


def of(*milliseconds: float, distant: Sequence[float] = ()) -> Samples:
    rounds, left_out = ([[int(one * 1e6)] for one in values] for values in (milliseconds, distant))
    return Samples(rounds, distant=left_out)


def test_two_looks_are_judged_as_one() -> None:
    first = Pair(of(*[10.0] * 12), of(*[12.0] * 3, *[8.0] * 9))
    assert (first.before_ms, first.after_ms, first.difference.ms) == (10, 8, -2)
    assert not first.difference.is_faster
    assert first.is_promising
    both = first.together(Pair(of(*[20.0] * 12), of(*[18.0] * 12)))
    assert (both.difference.rounds, both.difference.high_ms) == (24, -2)
    assert both.difference.is_faster
    assert not both.is_promising


@pytest.mark.parametrize("after", [8.0, 9.9, 10.0, 12.0])
def test_what_is_clear_or_gains_little_needs_no_other_look(after: float) -> None:
    assert not Pair(of(*[10.0] * 12), of(*[after] * 12)).is_promising


def test_two_looks_take_what_is_no_faster_for_faster_in_three_of_a_hundred_cases() -> None:
    sides = [max(k for k in range(1, count) if coverage(count, k) >= CONFIDENCE) for count in (12, 24)]
    chances = [(1 - coverage(count, place)) / 2 for count, place in zip((12, 24), sides, strict=True)]
    assert sum(chances) == pytest.approx(0.0306, abs=1e-4)


@pytest.mark.parametrize(
    ("distant", "known", "is_faster"),
    [([12.0] * 3, 1.0, False), ([10.0] * 3, -1.0, True), ([12.0] * 2, None, True), ([11.0, 10.5, 14.0], 0.0, True)],
)
def test_what_is_slower_while_the_cores_are_distant_is_not_faster(
    distant: list[float], known: float | None, is_faster: bool
) -> None:
    pair = Pair(of(*[10.0] * 12, distant=[11.0] * len(distant)), of(*[8.0] * 12, distant=distant))
    found = pair.difference
    assert (found.ms, found.distant_ms, found.distant_rounds) == (-2, known, len(distant))
    assert found.sum_ms == -2 + (known or 0)
    assert found.is_faster is is_faster
    assert found.is_slower_at_a_distance is (known is not None and known > 0)
    assert not pair.is_promising
    later = pair.together(pair).difference
    assert later.distant_rounds == 2 * len(distant)
    assert later.is_faster is (is_faster and known is not None)
