"""The counts of benchmarks: the status of a whole verdict, false alarms, and the memory of a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from scripts import load_script
from small_graph import small_model
from torch import nn

from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.validate.stages.stage import ORT_CPU, Stage
from attn2trt.validate.verdict import (
    AGAINST_FLOAT32,
    BUILT,
    FAILED,
    NOT_CHECKED,
    OVER_BUDGET,
    PASSED,
    StageResult,
    Verdict,
)


def stage(status: str, *, compared: bool = False) -> dict[str, Any]:
    return {"status": status, "why": f"why {status}", "comparisons": [{}] if compared else []}


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([PASSED, BUILT, NOT_CHECKED], PASSED),
        ([PASSED, OVER_BUDGET], OVER_BUDGET),
        ([OVER_BUDGET, AGAINST_FLOAT32, PASSED], AGAINST_FLOAT32),
        ([PASSED, FAILED, OVER_BUDGET], FAILED),
        ([BUILT, NOT_CHECKED], NOT_CHECKED),
        ([], NOT_CHECKED),
    ],
)
def test_the_status_of_a_verdict_is_the_worst_that_was_judged(statuses: list[str], expected: str) -> None:
    assert load_script("outcomes").status_of([stage(status) for status in statuses]) == expected


def test_a_stage_that_was_compared_in_part_leaves_the_verdict_unchecked() -> None:
    assert load_script("outcomes").status_of([stage(PASSED), stage(NOT_CHECKED, compared=True)]) == NOT_CHECKED


def test_statuses_are_counted_where_rows_have_them() -> None:
    count = load_script("outcomes").count_statuses
    assert count([{"result": "right"}]) == []
    rows = [{"result": "right", "status": PASSED}] * 2 + [{"result": "false alarm", "status": FAILED}, {"result": "x"}]
    (line,) = count(rows)
    assert line.startswith("Statuses of 3 verdicts: passed: 2; ")
    assert line.endswith("failed: 1. False alarms: 1.")


@pytest.mark.parametrize(
    ("add", "runtime", "expected"),
    [
        (0.0, ORT_CPU, "false alarm"),
        (0.5, ORT_CPU, "failed verdict"),
        (0.0, "tensorrt-rtx", "refused"),
        (0.5, "tensorrt-rtx", "failed verdict"),
    ],
)
def test_a_failed_verdict_over_a_right_graph_is_a_false_alarm_unless_tensorrt_refused_it(
    tmp_path: Path, add: float, runtime: str, expected: str
) -> None:
    outcomes: ModuleType = load_script("outcomes")
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", "more"], ["y"])]
    path = tmp_path / "model.onnx"
    path.write_bytes(small_model(nodes, {"x": [2, 3]}, {"y": [2, 3]}, {"more": np.float32(add)}).SerializeToString())
    verdict = Verdict((StageResult(Stage(runtime), FAILED, "off"),)).to_json()
    bundle = SimpleNamespace(manifest={"verdict": verdict, "axes": {}}, model_path=path)
    found = outcomes.judge(lambda: bundle, nn.ReLU, [TensorSpec("x", (2, 3), "float32")])
    assert (found.result, found.status) == (expected, FAILED)


@pytest.mark.parametrize(("places", "expected"), [([0, 1, 2], "right"), ([0, 1, 3], "silently wrong")])
def test_equal_scores_are_ranked_in_their_order(tmp_path: Path, places: list[int], expected: str) -> None:
    class Best(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.topk(0 * x, 3).indices.float()  # PyTorch alone picks others

    nodes = [helper.make_node("Mul", ["x", "zero"], ["z"]), helper.make_node("Slice", ["z", *"abc"], ["s"])]
    nodes += [helper.make_node("Add", ["s", "places"], ["y"])]
    weights = {name: np.array([value], np.int64) for name, value in zip("abc", (0, 3, 1), strict=True)}
    weights |= {"zero": np.float32(0), "places": np.array(places, np.float32)}
    path = tmp_path / "model.onnx"
    path.write_bytes(small_model(nodes, {"x": [1, 400]}, {"y": [1, 3]}, weights).SerializeToString())
    outcomes = load_script("outcomes")
    found = outcomes.compare(path, Best(), [TensorSpec("x", (1, 400), "float32")], {}, is_claimed=True)
    assert found.result == expected


def test_the_page_of_statuses_has_both_versions() -> None:
    statuses = load_script("statuses")
    now = {"status": PASSED, "why": "", "exit_code": 0}
    before = {"status": FAILED, "why": "off", "exit_code": 1}
    rows = [
        {"target": "se", "now": now, "before": before},
        {"target": "eca", "now": {"status": FAILED, "why": "off by 2", "exit_code": 1, "alarm": True}},
    ]
    page = statuses.page({"date": "d", "machine": "m", "versions": {"torch": "2"}, "rows": rows})
    assert "| passed | 0 | 1 |" in page
    assert "| failed | 1 | 1 |" in page
    assert "| false alarm | - | 1 |" in page
    assert "| `eca` | - | failed | off by 2 |" in page


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_command_is_that_of_all_below_it() -> None:
    large = load_script("large")
    # held by the one below: a process that has computed before takes what it has freed, and grows by nothing
    holds = "import time; kept = b'x' * (40 << 20); print('holds', flush=True); time.sleep(60)"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holds!r}])"
    child = subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"holds\n"
        outer, inner = large.family(child.pid)
        assert outer == child.pid
        assert large.resident_mib(outer) < 40 < large.resident_mib(inner) < 80
        assert {outer, inner} <= {*large.family(os.getpid())}
    finally:
        for pid in large.family(child.pid):
            os.kill(pid, 9)
        child.communicate()
    assert large.resident_mib(child.pid) == 0.0


def test_an_interrupted_run_keeps_what_the_earlier_version_came_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = load_script("statuses")
    results = tmp_path / "statuses.json"
    passed = {"status": "passed", "why": ""}
    rows = [{"target": name, "options": "", "before": passed, "now": passed} for name in ("cbam", "se")]
    results.write_text(json.dumps({"date": "1", "versions": {"torch": "1"}, "sources": "old", "rows": rows}))
    monkeypatch.setattr(statuses, "RESULTS", results)
    monkeypatch.setattr(statuses, "PAGE", tmp_path / "statuses.md")
    measured = {"target": "cbam", "options": "", "now": passed}
    monkeypatch.setattr(statuses, "side_by_side", lambda *_: iter([measured]))  # and no row after it
    assert statuses.main([], before=None, jobs=1) == 0
    cbam, se = json.loads(results.read_text())["rows"]
    assert cbam == measured | {"before": passed}
    assert se["before"] == passed
    assert se["measured"]["sources"] == "old"
    assert "1 row is of an earlier run, on 1 (torch 1)." in (tmp_path / "statuses.md").read_text()
