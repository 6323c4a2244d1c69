"""The map has steps that tell its cells from each other, whatever their numbers are."""

from __future__ import annotations

import math
from dataclasses import replace

import page_sample
import pytest

from attn2trt.report.map_section import NOT_FINITE, STEPS, MapSection, map_section
from attn2trt.validate.error_map import ErrorMap
from attn2trt.validate.stages.stage import ORT_CPU, Stage
from attn2trt.validate.verdict import Verdict, stage_result


def section(*rows: tuple[float, ...], floor: float = 1e-7) -> MapSection:
    shown = ErrorMap((), (len(rows), len(rows[0])), rows, floor)
    found = map_section([Verdict((stage_result(Stage(ORT_CPU), [("a", page_sample.comparison(1.5, shown=shown))]),))])
    assert found is not None
    return found


def test_every_cell_is_drawn_once_and_the_largest_is_framed() -> None:
    found = section((1e-9, 1e-8, 1e-7), (2e-7, 4e-7, 8e-7))
    assert sum(level.count for level in found.levels) == sum(level.path.count("M") for level in found.levels) == 6
    assert found.worst == (1, 2)
    assert found.unit == "roundings"
    assert found.levels[-1].words.endswith("to 8")
    assert [cell.share for cell in found.cells[:2]] == ["8", "4"]


@pytest.mark.parametrize("value", [0.0, 1e-7])
def test_cells_that_are_alike_are_one_step(value: float) -> None:
    (level,) = section((value, value)).levels
    assert (level.number, level.count) == (STEPS - 1, 2)


def test_a_number_that_is_not_finite_has_a_step_of_its_own() -> None:
    found = section((math.nan, 1e-7), (math.inf, 2e-6))
    assert (found.levels[-1].number, found.levels[-1].words, found.levels[-1].count) == (NOT_FINITE, "not finite", 2)
    assert found.worst in ((0, 0), (1, 0))
    assert [level.words for level in section((math.inf, math.nan)).levels] == ["not finite"]


@pytest.mark.parametrize("floor", [0.0, math.inf, math.nan])
def test_without_a_floor_numbers_are_shares_of_the_largest(floor: float) -> None:
    found = section((0.25, 0.5), floor=floor)
    assert found.unit == "of the largest number"
    assert found.cells[0].share == "0.5"


def test_the_map_of_a_failure_comes_first() -> None:
    good, bad = page_sample.verdict(), page_sample.verdict(passed=False)
    found = map_section([good, bad])
    assert found is not None
    assert found.where == "4e+05 times PyTorch's own rounding (over the whole output, at (0, 3, 55, 55))"
    assert map_section([Verdict(tuple(replace(stage, comparisons=()) for stage in good.stages))]) is None
