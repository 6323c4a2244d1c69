"""Numbers as places on an axis, and as people read them."""

from __future__ import annotations

import math

import pytest

from attn2trt.report.scale import LinearAxis, LogAxis, number, size


@pytest.mark.parametrize(
    ("value", "percent", "beyond"),
    [
        *((0.1, 0, False), (1, 25, False), (10, 50, False), (1000, 100, False), (1e9, 100, True)),
        *((0, 0, False), (1e-9, 0, False), (math.inf, 100, True), (math.nan, 100, True)),
    ],
)
def test_a_bar_on_a_logarithmic_axis_ends_at_its_number_or_an_end(value: float, percent: float, beyond: bool) -> None:
    bar = LogAxis(-1, 3).bar(value)
    assert (bar.start, bar.end, bar.is_beyond) == (0, percent, beyond)


def test_a_negative_number_lies_left_of_zero() -> None:
    axis = LinearAxis.of([-1.0, 3.0, math.inf])
    assert (axis.bar(-1.0).start, axis.bar(-1.0).end) == (0, 25)
    assert axis.bar(3.0, interval=(1.0, 3.0)).interval == (50, 100)


def test_an_axis_of_nothing_is_still_one() -> None:
    assert LinearAxis.of([]).bar(0.0).end == 0


def test_numbers_and_sizes_in_words() -> None:
    assert [number(value) for value in (1.234, math.inf, math.nan)] == ["1.2", "infinite", "not a number"]
    assert [size(count) for count in (5, 4800, 112321134, 3 * 10**9)] == ["5 bytes", "4.8 kB", "112 MB", "3 GB"]
