"""The map goes through the largest error, is small, and survives being written down."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attn2trt.validate.comparison import compare
from attn2trt.validate.error_map import MOST_CELLS, ErrorMap, error_map, largest
from attn2trt.validate.metrics import Floor
from attn2trt.validate.stages.stage import ORT_CPU, Stage
from attn2trt.validate.verdict import Verdict, stage_result

RNG = np.random.default_rng(0)


def of(out: np.ndarray, truth: np.ndarray, worst: tuple[int, ...], which: str = "l2") -> ErrorMap:
    found = error_map(out, truth, worst, which, floor=1e-7, scale=largest(truth))
    assert found is not None
    return found


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 64, 100), (2, 1000), (9,), (1, 2, 3, 4, 5)], ids=str)
def test_the_largest_error_is_in_the_cell_of_its_place(shape: tuple[int, ...]) -> None:
    truth = RNG.normal(size=shape)
    out = truth.copy()
    place = tuple(size - 1 if axis % 2 else 0 for axis, size in enumerate(shape))
    out[place] += 0.5
    found = of(out, truth, place)
    cells = np.array(found.cells)
    assert found.fixed == place[:-2]
    assert max(cells.shape) <= MOST_CELLS
    assert cells.max() == pytest.approx(0.5 / largest(truth))
    row, column = np.unravel_index(int(cells.argmax()), cells.shape)
    rows, columns = found.shape
    assert place[-1] // math.ceil(columns / cells.shape[1]) <= column
    assert cells.size == 1 or np.count_nonzero(cells) == 1
    assert row * rows // cells.shape[0] <= (place[-2] if len(shape) > 1 else 0)


def test_a_slice_that_decided_is_looked_at_for_its_largest_element() -> None:
    truth = np.ones((2, 4, 3, 3))
    out = truth.copy()
    out[1, 2, 0, 1] += 0.25
    out[0, 0, 0, 0] += 9.0
    found = of(out, truth, (1, 2), "channel")
    assert found.fixed == (1, 2)
    assert found.cells[0][1] == 0.25


def test_what_is_not_finite_is_infinite_and_where_the_truth_is_not_there_is_nothing_to_see() -> None:
    truth = np.array([[1.0, np.inf, 2.0]])
    found = of(np.array([[np.nan, 3.0, 2.0]]), truth, (0, 0))
    assert found.cells == ((math.inf, 0.0, 0.0),)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.0, -3.0], 3.0),
        ([np.nan, -2.0, np.inf], 2.0),
        ([np.nan], 0.0),
        ([], 0.0),
        ([1, 2], 0.0),
        ([-np.inf, 1.0], 1.0),
    ],
)
def test_the_largest_number_is_finite(values: list[float], wanted: float) -> None:
    assert largest(np.array(values)) == wanted


def test_integers_are_equal_or_not() -> None:
    assert of(np.array([[1, 2]]), np.array([[1, 3]]), (0, 1), "exact").cells == ((0.0, 1.0),)


@pytest.mark.parametrize(
    ("out", "truth", "worst", "which"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), (0, 0), "shape"),
        (np.zeros(()), np.zeros(()), (), "l2"),
        (np.zeros((0, 3)), np.zeros((0, 3)), (), "exact"),
        (np.zeros((2, 3)), np.zeros((2, 3)), (), "raised"),
        (np.zeros((2, 3)), np.zeros((2, 3)), (1, 9), "channel"),
    ],
)
def test_what_has_no_plane_has_no_map(out: np.ndarray, truth: np.ndarray, worst: tuple[int, ...], which: str) -> None:
    assert error_map(out, truth, worst, which, floor=0.0, scale=1.0) is None


def test_a_verdict_keeps_the_map_of_its_worst_case_and_reads_it_again() -> None:
    truth = RNG.normal(size=(2, 5))
    floor = Floor(1e-7, 1e-7, np.full(5, 1e-7))
    found = []
    for case, error in (("a", 1e-7), ("b", 1e-3), ("c", 1e-6)):
        out = truth.copy()
        out[1, 3] += error
        one = compare("y", out, truth, floor, 1.0, budget=math.inf)
        shown = error_map(out, truth, one.worst_index, one.which, floor=floor.max, scale=largest(truth))
        found.append((case, one.__class__(**{**one.__dict__, "error_map": shown})))
    stage = stage_result(Stage(ORT_CPU), found)
    assert [one.error_map is not None for _, one in stage.comparisons] == [False, True, False]
    again = Verdict.from_json(Verdict((stage,)).to_json()).stages[0].comparisons[1][1].error_map
    assert again is not None
    assert np.array(again.cells) == pytest.approx(np.array(found[1][1].error_map.cells), rel=1e-2)


@pytest.mark.parametrize(
    "entry",
    [{"cells": []}, {"cells": ["1 2", "1"]}, {"cells": ["a"]}, {"cells": [""]}, {"cells": ["1 " * 99]}, {"shape": [1]}],
    ids=str,
)
def test_what_is_no_map_is_refused(entry: dict[str, object]) -> None:
    good = {"fixed": [], "shape": [1, 1], "cells": ["1"], "floor": "1"}
    ErrorMap.from_json(good)
    with pytest.raises(ValueError, match=r"."):
        ErrorMap.from_json({**good, **entry})
