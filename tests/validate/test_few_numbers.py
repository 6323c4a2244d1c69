"""Outputs of a few numbers in few bits are held to what their other cases lose, not to one lucky draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import Floor, Reference
from attn2trt.validate.stages.judge import judge
from attn2trt.validate.stages.stage import WRITTEN, Stage
from attn2trt.validate.verdict import StageResult

USUAL, LUCKY = 0.08, 0.01


def judged(
    precision: str, error: float, *, rows: int = 2, floors: tuple[float, ...] = (USUAL, USUAL, LUCKY)
) -> StageResult:
    """The result of two classes in several cases, the last of which is off by ``error`` of its size."""
    truth = np.random.default_rng(0).normal(size=(len(floors), rows, 2))
    pairs, given = [], {}
    for place, loss in enumerate(floors):
        floor = Floor(loss, loss, np.full(2, loss))
        own = {"y": truth[place]}
        low = {precision: {"y": floor}}
        reference = Reference(
            own, {"y": np.float32(truth[place])}, {"y": Floor(1e-7, 1e-7, np.full(2, 1e-7))}, 9.0, lower=low
        )
        pairs.append((Case.of(f"case{place}", {"x": np.full(rows, place, np.float32)}), reference))
        given[place] = np.float32(truth[place] * (1 + error * (place == len(floors) - 1)))

    def run(feeds: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"y": given[int(feeds["x"][0])]}

    return judge(Stage(WRITTEN, precision), run, pairs)


@pytest.mark.parametrize("precision", ["int8", "int8-fp16", "fp8"])
def test_a_lucky_floor_of_a_few_numbers_is_no_limit(precision: str) -> None:
    found = judged(precision, 0.06)
    assert found.status == "passed", found.why
    assert dict(found.comparisons)["case2"].ratio < 0.09 / USUAL


@pytest.mark.parametrize(
    ("precision", "error", "options", "said"),
    [
        ("int8", 0.11, {}, "above the budget 0.1"),
        ("int8", 0.06, {"rows": 9}, "6 times PyTorch's own rounding"),
        ("int8", 0.06, {"floors": (LUCKY, LUCKY, LUCKY)}, "6 times PyTorch's own rounding"),
        ("int8", 0.06, {"floors": (USUAL, LUCKY, LUCKY)}, "6 times PyTorch's own rounding"),
        ("int8", 0.06, {"floors": (LUCKY,)}, "6 times PyTorch's own rounding"),
        ("fp16", 0.008, {"floors": (1e-2, 1e-2, 1e-3)}, "8 times PyTorch's own rounding"),
    ],
)
def test_everything_else_is_as_it_was(precision: str, error: float, options: dict[str, Any], said: str) -> None:
    found = judged(precision, error, **options)
    assert found.status == "failed"
    assert f"case{len(options.get('floors', (0, 0, 0))) - 1}, output y" in found.why
    assert said in found.why
