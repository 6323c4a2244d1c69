"""A precision that is refused keeps no other from its verdict, and the verdict from being a pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from cli_run import run

from attn2trt.errors import CheckFailed, ModuleRefused, PrecisionRefused
from attn2trt.export.precision import LowPrecisionGraph
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.stages.stage import ORT_CPU, Stage
from attn2trt.validate.verdict import Verdict, stage_result
from attn2trt.workflows.judgement import Judgement, judge_each

GOOD = Comparison("y", 1e-8, 1e-8, 1.0, "l2", (), True, "")


def write(precision: str) -> LowPrecisionGraph:
    if precision == "int8":
        raise ModuleRefused("int8 leaves nothing to quantise")
    if precision == "fp8":
        raise CheckFailed("the graph was written wrongly")
    return cast(Any, precision)  # type: ignore[no-any-return]


def judge(lowered: Mapping[str, LowPrecisionGraph]) -> Judgement:
    if "bf16" in lowered:
        raise PrecisionRefused("bf16", "output y has another size in it")
    stages = [stage_result(Stage(ORT_CPU, name), [("traced", GOOD)]) for name in ("fp32", *lowered)]
    return Judgement(dict(lowered), Verdict(tuple(stages)), [], [], list)


def test_the_others_are_judged_and_what_was_refused_says_why() -> None:
    found = judge_each(write, ("fp16", "bf16", "int8"), judge)
    assert [*found.lowered] == ["fp16"]
    assert not found.verdict
    said = {stage.label: (stage.status, stage.why) for stage in found.verdict.objections}
    assert said == {
        "int8": ("refused", "int8 leaves nothing to quantise"),
        "bf16": ("refused", "output y has another size in it"),
    }
    assert Verdict.from_json(json.loads(json.dumps(found.verdict.to_json()))) == found.verdict
    assert judge_each(write, ("fp16",), judge).verdict


def test_a_graph_that_was_written_wrongly_ends_it() -> None:
    with pytest.raises(CheckFailed, match="written wrongly"):
        judge_each(write, ("fp8",), judge)


def test_a_bundle_has_the_graphs_of_the_others(tmp_path: Path) -> None:
    options = ("--dynamic", "none", "--precision", "fp32,fp16,int8", "-o", tmp_path / "eca")
    found = run("export", "eca", "--shape", "2x16x8x8", *options)
    assert found.exit_code == 2
    assert "refused  int8 leaves nothing to quantise: none of 1 convolutions" in found.stdout
    assert {file.name for file in (tmp_path / "eca").glob("*.onnx")} == {"model.onnx", "model.fp16.onnx"}
