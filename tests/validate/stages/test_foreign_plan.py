"""A plan of somebody else is judged inside of its ranges alone, and its layers by what the inspector tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attn2trt.core.tensor_spec import Axis
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.errors import CheckFailed
from attn2trt.validate.cases import Case
from attn2trt.validate.metrics import Floor, Reference
from attn2trt.validate.stages.foreign_plan import judge_foreign, judge_foreign_layers, outside
from attn2trt.validate.stages.stage import Stage

STAGE = Stage("tensorrt", "fp32")
TRUTH = np.linspace(-1, 1, 6).reshape(2, 3)


class Doubled:
    """A plan that gives twice the truth of a batch of one to two."""

    def __init__(self, factor: float = 1.0, most: int = 2) -> None:
        self.profiles = [Profile({"batch": Axis(1, 1, most)})]
        self._factor = factor

    def load(self) -> None:
        return None

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return {"y": (feeds["x"] * self._factor).astype(np.float32)}


def pairs() -> Iterator[tuple[Case, Reference]]:
    floor = Floor(1e-7, 1e-7, np.full(3, 1e-7))
    for batch in (2, 4):
        truth = np.tile(TRUTH, (batch // 2, 1))
        case = Case(f"batch {batch}", "", "normal", {"batch": batch}, lambda truth=truth: {"x": truth})
        yield case, Reference({"y": truth}, {"y": truth.astype(np.float32)}, {"y": floor}, 1.0)


def test_only_cases_inside_of_its_ranges_are_compared() -> None:
    values, *_ = judge_foreign(Doubled(), STAGE, pairs, [])
    assert values.status == "passed", values
    assert values.case_count == 1
    assert outside(Doubled(), pairs) == ["batch 4"]
    assert judge_foreign(Doubled(2.0), STAGE, pairs, [])[0].status == "failed"
    none, *_ = judge_foreign(Doubled(most=1), STAGE, pairs, [])
    assert none.status == "not checked"
    assert "no case lies inside of the plan's profiles" in none.why


def test_layers_that_nobody_can_tell_are_not_checked() -> None:
    def refuses() -> str:
        raise CheckFailed("the process is gone")

    for text, why in (
        (lambda: '{"Layers": ["names", "alone"]}', "detailed profiling verbosity"),
        (lambda: "no JSON", "cannot be read"),
        (refuses, "the process is gone"),
    ):
        found = judge_foreign_layers(STAGE, text, Path("none.onnx"), is_asked=False)
        assert found.status == "not checked"
        assert why in found.why
