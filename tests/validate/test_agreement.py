"""Two runtimes agree within twice the verdict's budget, and in nothing less."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attn2trt.core.precision import LOWER
from attn2trt.validate.agreement import disagreement, distance

X = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)


def test_rounding_agrees_and_one_percent_does_not() -> None:
    assert disagreement({"y": X}, {"y": X}) == ""
    assert disagreement({"y": X * np.float32(1 + 1e-5)}, {"y": X}) == ""
    assert "0.01 away" in disagreement({"y": X * np.float32(1.01)}, {"y": X})


def test_a_lower_precision_has_its_own_budget() -> None:
    changed = {"y": X * np.float32(1.01)}
    assert disagreement(changed, {"y": X}, LOWER["fp16"]) == ""
    changed = {"y": X * np.float32(1.03)}
    assert "two healthy runs differ by at most 0.02" in disagreement(changed, {"y": X}, LOWER["fp16"])
    assert disagreement(changed, {"y": X}, LOWER["int8"]) == ""


def test_names_and_shapes_are_reported() -> None:
    assert disagreement({"z": X}, {"y": X}) == "outputs z instead of y"
    assert "shape (5, 4) instead of (4, 5)" in disagreement({"y": X.T}, {"y": X})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stand_in_the_same_places(value: float) -> None:
    stray = X.copy()
    stray[1, 2] = value
    assert disagreement({"y": stray}, {"y": X})
    assert disagreement({"y": X}, {"y": stray})
    assert disagreement({"y": stray}, {"y": stray}) == ""


def test_zeros_and_integers_are_exact() -> None:
    zeros = np.zeros(3, np.float32)
    assert distance(zeros, zeros) == 0
    assert distance(zeros + 1e-9, zeros) == math.inf
    assert distance(np.array([1, 2]), np.array([1, 2])) == 0
    assert distance(np.array([1, 3]), np.array([1, 2])) == math.inf


def test_what_near_ties_decide_is_not_compared_and_nothing_else_is_left_out() -> None:
    mask = np.zeros(X.shape, np.bool_)
    mask[1, 2] = True
    changed = X.copy()
    changed[1, 2] += 1
    assert disagreement({"y": changed}, {"y": X}, unsettled={"y": mask}) == ""
    assert disagreement({"y": changed}, {"y": X}, unsettled={"z": mask})
    places = np.arange(20).reshape(4, 5)
    other = np.where(mask, 7, places)
    assert disagreement({"y": other}, {"y": places}, unsettled={"y": mask}) == ""
    changed[0, 0] += 1
    other[0, 0] = 7
    assert disagreement({"y": changed}, {"y": X}, unsettled={"y": mask})
    assert disagreement({"y": other}, {"y": places}, unsettled={"y": mask})
    changed = np.where(mask, np.float32(np.nan), X)
    assert disagreement({"y": changed}, {"y": X}, unsettled={"y": mask})
