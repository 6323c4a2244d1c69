"""Timed inputs are many enough, the same in every process, and within their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.engines.timing.inputs import MOST_SETS, input_bytes, make_inputs, set_count

SPECS = (
    TensorSpec("x", ("batch", 3, 4)),
    TensorSpec("ids", ("batch", 5), "int64", 2, 9),
    TensorSpec("on", (2,), "bool"),
)
SIZES = {"batch": 6}


def test_sets_are_seeded_typed_and_bounded() -> None:
    first, again, other = (make_inputs(SPECS, SIZES, seed) for seed in (0, 0, 1))
    assert {name: (value.shape, str(value.dtype)) for name, value in first.items()} == {
        "x": ((6, 3, 4), "float32"),
        "ids": ((6, 5), "int64"),
        "on": ((2,), "bool"),
    }
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["x"], other["x"])
    assert first["ids"].min() >= 2
    assert first["ids"].max() <= 9
    assert input_bytes(SPECS, SIZES) == sum(value.nbytes for value in first.values())


@pytest.mark.parametrize(
    ("one_set", "cache", "count"),
    [(1 << 20, 32 << 20, 64), (8 << 20, 32 << 20, 8), (1 << 30, 32 << 20, 2), (10, 32 << 20, MOST_SETS), (0, 1, 2)],
)
def test_sets_fill_the_cache_twice_within_limits(one_set: int, cache: int, count: int) -> None:
    assert set_count(one_set, cache) == count
