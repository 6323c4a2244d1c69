"""Statistics of known numbers."""

from __future__ import annotations

import numpy as np
import pytest

from attn2trt.core.plain_data import plain
from attn2trt.engines.timing.latency import Latency


def milliseconds(*values: float) -> Latency:
    return Latency.of([int(value * 1e6) for value in values])


def test_of_a_hundred_and_one_known_calls() -> None:
    found = milliseconds(*np.random.default_rng(0).permutation(np.arange(1, 102)))
    assert (found.iterations, found.median_ms, found.mean_ms, found.min_ms) == (101, 51, 51, 1)
    assert (found.p90_ms, found.p99_ms) == (91, 100)
    assert found.cv == pytest.approx(np.std(np.arange(1, 102), ddof=1) / 51)
    assert not found.steady


@pytest.mark.parametrize(
    ("count", "p90", "p99"), [(9, False, False), (10, True, False), (99, True, False), (100, True, True)]
)
def test_a_percentile_that_the_calls_cannot_hold_is_none(count: int, p90: bool, p99: bool) -> None:
    found = milliseconds(*[2.0] * count)
    assert (found.p90_ms is not None, found.p99_ms is not None) == (p90, p99)


def test_steady_is_up_to_two_and_a_half_percent() -> None:
    assert milliseconds(*[100, 102] * 50).steady
    assert not milliseconds(*[100, 106] * 50).steady


def test_one_call_has_no_spread_and_is_not_steady() -> None:
    found = milliseconds(7)
    assert (found.median_ms, found.cv, found.steady) == (7, None, False)
    assert plain(found)["cv"] is None
