"""The page says what a tuned graph is worth, and never calls a plan a pass that was not judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import page_sample
import pytest
import served_bundle
from served_bundle import plan

from attn2trt.core.bundle import Bundle
from attn2trt.errors import InputError
from attn2trt.report.page import page
from attn2trt.report.tuned_section import TunedRow, tuned_rows
from attn2trt.validate.stages.stage import Stage, plan_stage
from attn2trt.validate.verdict import StageResult, Verdict, stage_result

OUTPUTS = [("traced", page_sample.comparison(1.5, shown=None))]
JUDGED = Verdict((stage_result(plan_stage("tensorrt", "fp32", tuned=True), OUTPUTS),)).to_json()
MEASURED = {"before_ms": 0.5, "after_ms": 0.25, "sizes": {"batch": 8}, "gpu": "NVIDIA H200", "verdict": JUDGED}
FILE = "plans/sm86-trt10.9.0-fp32-tuned.plan"


def tuned(tmp_path: Path, **about: Any) -> Bundle:
    bundle = served_bundle.write(tmp_path / "b", plans=[plan()])
    graph = about.pop("graph", "")
    return served_bundle.add_tuned(bundle, plan(tuned=True, graph=graph), **{**MEASURED, **about})


def test_a_plan_that_was_measured_and_judged(tmp_path: Path) -> None:
    bundle = tuned(tmp_path)
    (row,) = tuned_rows(bundle)
    about = ("TensorRT in fp32", "NVIDIA H200, batch 8", "0.5", "0.25", "2.00", True)
    assert row == TunedRow(FILE, *about, row.found)
    assert row.found.startswith("PASSED")
    text = page([bundle])
    assert "Graphs that attn2trt tune wrote" in text
    assert "✓ passed</td>" in text


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"is_measured": False}, "not the plan that was timed and judged"),
        ({"graph": "0" * 64}, "built from another graph"),
        ({"verdict": None}, "no verdict was kept"),
    ],
)
def test_a_plan_that_was_not_judged_is_no_pass(tmp_path: Path, about: dict[str, Any], why: str) -> None:
    bundle = tuned(tmp_path, **about)
    (row,) = tuned_rows(bundle)
    assert (row.passed, why in row.found) == (None, True)
    assert "not judged</td>" in page([bundle])


def test_a_verdict_that_failed_is_shown_as_such(tmp_path: Path) -> None:
    failed = Verdict((StageResult(Stage("tensorrt, tuned", "fp32"), "failed", "it is wrong"),)).to_json()
    (row,) = tuned_rows(tuned(tmp_path, verdict=failed))
    assert row.passed is False


def test_the_graph_of_the_cpu_has_a_row(tmp_path: Path) -> None:
    entry = {"file": "model.onnx", "machine": {"cpu": "a CPU"}, **MEASURED}
    (row,) = tuned_rows(served_bundle.write(tmp_path / "b", tuned=entry))
    assert (row.file, row.where, row.times) == ("model.onnx", "a CPU, batch 8", "2.00")


def test_no_row_without_a_tuned_graph_and_one_line_for_an_entry_that_cannot_be_read(tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "a", plans=[plan()])
    assert tuned_rows(bundle) == ()
    assert "attn2trt tune wrote" not in page([bundle])
    with pytest.raises(InputError, match=r"tuned graphs cannot be read .*; run attn2trt tune again"):
        tuned_rows(tuned(tmp_path, before_ms="fast"))
