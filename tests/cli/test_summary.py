"""The exit code of a verdict."""

from __future__ import annotations

import pytest

from attn2trt.cli.summary import exit_code
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.stages.stage import Stage
from attn2trt.validate.verdict import StageResult, Status, Verdict

GOOD = Comparison("output", 1e-8, 1e-8, 1.0, "l2", (), True, "")


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["passed"], 0),
        (["passed", "not checked"], 0),
        (["passed, budget not kept by PyTorch's float32"], 0),
        (["passed", "passed against float32"], 1),
        (["passed", "failed", "not checked"], 1),
        (["failed"], 1),
        (["not checked", "not checked"], 3),
        ([], 3),
    ],
)
def test_only_a_verdict_that_checked_something_and_failed_nothing_exits_0(statuses: list[Status], code: int) -> None:
    stages = (
        StageResult(Stage("stage"), status, "why", () if status == "not checked" else (("case", GOOD),))
        for status in statuses
    )
    assert exit_code(Verdict(tuple(stages))) == code


def test_a_stage_that_was_not_compared_whole_exits_1() -> None:
    assert exit_code(Verdict((StageResult(Stage("stage"), "not checked", "why", (("case", GOOD),)),))) == 1
