"""One table of precisions: whoever needs a fact of one reads it there, so that a row is all that another one takes."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from attn2trt.core.precision import LOWER, PRECISIONS, Precision, named_budgets, oldest_tensorrt, require_budget
from attn2trt.errors import InputError
from attn2trt.validate.stages.judge import StageJudge
from attn2trt.validate.stages.stage import Stage
from attn2trt.workflows.options import Judging

ROOT = Path(__file__).parents[2]
MADE_UP = Path(__file__).with_name("made_up_precisions.py")
ROOMS = ("core", "modules", "export", "engines", "validate", "report", "workflows", "cli")
# Texts that are the name of a precision and no branch on one: a kind of kernels, an element type, a table of its own.
NAMED = {
    "core/precision.py": LOWER.keys(),
    "core/refused_types.py": {"bf16"},
    "engines/isolated_child.py": {"tf32"},
    "export/modelopt_child.py": {"fp16", "int8"},
    "engines/ort_runtime.py": {"int8"},
    "engines/tensorrt/runtime.py": {"int8"},
    "engines/tf32_kernels.py": {"tf32"},
    "validate/stages/ort_process.py": {"tf32"},
}


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, MADE_UP, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_row_is_all_that_another_precision_takes() -> None:
    said = " ".join(run("tables").split())
    assert "Graphs to write: fp32, tf32, fp16, bf16, int8, int8-fp16, fp8, fp15, int7, separated by commas" in said
    assert "on which the ranges are found, for int8, int8-fp16, fp8, int7." in said


@pytest.mark.slow
def test_a_row_is_written_judged_and_verified(tmp_path: Path) -> None:
    deployed, validated, *verified = run("deploy", str(tmp_path / "cbam")).splitlines()
    passed = {"fp15": "passed", "fp15 onnxruntime cpu": "passed", "int7": "passed"}
    assert ast.literal_eval(deployed) == ast.literal_eval(validated) == passed
    assert sum(line.startswith("loads in ONNX Runtime") for line in verified) == 3


@pytest.mark.parametrize("row", PRECISIONS.values(), ids=lambda row: row.name)
def test_every_row_is_whole(row: Precision) -> None:
    assert row.healthy < row.limit == pytest.approx(row.healthy * 4 / 3)
    assert 0 < row.unit_roundoff < row.budget * 1e5
    assert 0 < row.share < 1
    assert row.bits in (8, 16, 32)
    assert (row.graph == "quantised") == (row.opset > 1)
    assert (row.graph == "float32") == (row.dtype == "float32")
    assert PRECISIONS[row.products_as or row.name].kernel_words


@pytest.mark.parametrize("row", LOWER.values(), ids=lambda row: row.name)
def test_every_limit_was_measured(row: Precision) -> None:
    """The results hold a largest ratio for each precision, at or below what the row calls healthy."""
    results = ROOT / "benchmarks/results"
    halves = json.loads((results / "half_limits.json").read_text())["precisions"]
    file = results / f"{row.name}_limit.json"
    found = halves[row.name] if row.name in halves else json.loads(file.read_text())
    assert 0 < found["largest"] <= row.healthy


def test_the_budgets_are_named_as_people_write_them() -> None:
    assert named_budgets() == "fp32 1e-5, tf32 1e-2, fp16 1e-2, bf16 5e-2, int8 1e-1, int8-fp16 1e-1, fp8 1e-1"


@pytest.mark.parametrize("number", [math.nan, math.inf, 0.0, -1.0])
def test_a_budget_that_no_error_exceeds_is_refused(number: float) -> None:
    """From Python, in the options of ``deploy`` and wherever a stage is judged."""
    for takes in (require_budget, lambda number: Judging(max_error=number), judge_of):
        with pytest.raises(InputError, match=r"received a budget of .*; expected a finite number above 0; correct"):
            takes(number)
    require_budget(None)


def judge_of(max_error: float) -> StageJudge:
    return StageJudge(Stage("onnxruntime cpu"), cast(Any, None), max_error)


@pytest.mark.parametrize(
    ("opset", "precision", "oldest"),
    [(17, "fp32", "8.6"), (17, "bf16", "10.0"), (19, "fp8", "10.0"), (21, "bf16", "10.15"), (25, "int8", "11.5")],
)
def test_the_oldest_tensorrt_reads_both_opset_and_precision(opset: int, precision: str, oldest: str) -> None:
    assert oldest_tensorrt(opset, precision) == oldest


def named(path: Path) -> set[str]:
    """The names of precisions below float32 that the code has as text."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {str(node.value) for node in nodes if isinstance(node, ast.Constant) and node.value in LOWER}


def test_nobody_else_branches_on_the_name_of_a_precision() -> None:
    files = (path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    assert {path.relative_to(ROOT).as_posix(): names for path in files if (names := named(path))} == NAMED
