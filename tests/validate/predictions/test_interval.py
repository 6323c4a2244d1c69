"""Wilson's interval of a share, beside SciPy's."""

from __future__ import annotations

import pytest

from attn2trt.validate.predictions.interval import wilson


@pytest.mark.parametrize(("count", "total"), [(0, 10), (1, 10), (10, 10), (3, 1000), (499, 1000), (1, 1)])
def test_the_interval_is_scipys(count: int, total: int) -> None:
    from scipy.stats import binomtest  # takes a second, in one test process of all

    expected = binomtest(count, total).proportion_ci(0.95, method="wilson")
    assert wilson(count, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
