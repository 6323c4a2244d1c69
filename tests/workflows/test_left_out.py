"""Cases that were too large to be recorded are named wherever a bundle is judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from attn2trt.core.bundle import Bundle
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.stages.stage import ROWS, Stage
from attn2trt.validate.verdict import StageResult, not_checked
from attn2trt.workflows.validate import with_unrecorded

FOUND = (("traced", Comparison("y", 0.0, 0.0, 1.0, "l2", (), True, "")),)


@pytest.mark.parametrize(
    ("stage", "left_out", "why"),
    [
        (StageResult(Stage("tensorrt"), "passed", "", FOUND), ["batch_max"], True),
        (StageResult(Stage("tensorrt"), "passed", "", FOUND), [], False),
        (StageResult(Stage("tensorrt", kind=ROWS), "passed", "", FOUND), ["batch_max"], False),
        (not_checked(Stage("tensorrt"), ""), ["batch_max"], False),
    ],
)
def test_a_stage_that_compared_others_names_them(stage: StageResult, left_out: list[str], why: bool) -> None:
    found = with_unrecorded(Bundle(Path("mine"), {"cases_left_out": left_out}), stage, [])
    assert found.status == stage.status
    assert found.why == ("too large to be recorded, so not judged here: batch_max" if why else "")
