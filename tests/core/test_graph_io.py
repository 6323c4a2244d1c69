"""Inputs in half precision: rounded within their bounds, fed without a second rounding, and refused beyond the type."""

from __future__ import annotations

import numpy as np
import pytest

from attn2trt.core.graph_io import FLOAT32, check_bounds, fed, rounded, with_io
from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.errors import InputError

HALF = "float16"


def test_only_what_is_float32_changes_its_type() -> None:
    specs = [TensorSpec("x", (2,)), TensorSpec("ids", (2,), "int64"), TensorSpec("h", (2,), HALF)]
    assert [spec.dtype for spec in with_io(specs, HALF)] == [HALF, "int64", HALF]
    assert with_io(specs, FLOAT32) == tuple(specs)
    ids = np.array([70000], np.int64)
    assert rounded("ids", ids, HALF) is ids
    assert fed({"ids": ids}, HALF)["ids"] is ids


def test_a_rounded_input_stays_float32_and_is_fed_exactly() -> None:
    value = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    once = rounded("x", value, HALF)
    assert once.dtype == np.float32
    assert np.array_equal(once, value.astype(np.float16).astype(np.float32))
    given = fed({"x": once}, HALF)["x"]
    assert given.dtype == np.float16
    assert np.array_equal(given.astype(np.float32), once)
    with pytest.raises(InputError, match="received input x with numbers that float16 does not have"):
        fed({"x": value}, HALF)


def test_rounding_does_not_leave_the_bounds() -> None:
    low, high = 0.1, 0.3  # 0.3 rounds up, 0.1 down
    value = np.array([low, 0.2, high], np.float32)
    found = rounded("x", value, HALF, (low, high))
    assert found.min() >= low
    assert found.max() <= high
    assert np.array_equal(found, found.astype(np.float16).astype(np.float32))


def test_numbers_beyond_the_type_are_one_line() -> None:
    words = r"received --io fp16 with input x, whose values reach 70000; float16 ends at 65504; leave --io out"
    with pytest.raises(InputError, match=words):
        rounded("x", np.array([1, 70000], np.float32), HALF)
    with pytest.raises(InputError, match=words):
        check_bounds([TensorSpec("x", (2,), low=-1.0, high=70000.0)], HALF)
    check_bounds([TensorSpec("x", (2,), low=-1.0, high=70000.0)], FLOAT32)
    infinite = rounded("x", np.array([1, np.inf], np.float32), HALF)
    assert np.isinf(infinite[1])
