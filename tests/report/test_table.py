"""The table says in plain words what was compared, and never hides what was not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from printed_table import printed

from attn2trt.report.table import conclusion, stage_sentence, verdict_table
from attn2trt.validate.comparison import Comparison
from attn2trt.validate.metrics import GRAPH
from attn2trt.validate.stages.stage import Stage
from attn2trt.validate.verdict import OWN_LEVELS, StageResult, Verdict, not_checked, refused, stage_result


def stage(name: str, ratio: float, passed: bool = True) -> StageResult:
    detail = f"{ratio:g} times PyTorch's own rounding"
    found = Comparison("y", 2e-7, 1e-7, ratio, "l2", (0, 1), passed, detail)
    return stage_result(Stage(name), [("traced", found), ("zeros", found)])


SKIPPED = not_checked(Stage("tensorrt", ""), "no NVIDIA driver")


def shown(verdict: Verdict) -> str:
    return printed(verdict_table(verdict), 160)


def test_a_pass_says_how_far_and_names_what_was_not_checked() -> None:
    text = shown(Verdict((stage("simplified", 1.25), SKIPPED)))
    assert "2 cases, 2 outputs: at most 1.2 times PyTorch's own rounding, largest error 2.0e-07" in text
    assert "no NVIDIA driver" in text
    assert "PASSED: 1 stage within PyTorch's own rounding; not checked: tensorrt" in text


def test_the_limits_are_those_of_the_stages_that_were_compared() -> None:
    plain, own = (replace(stage("int8", 1.5), stage=Stage("onnxruntime cpu", name)) for name in ("int8", "int8-fp16"))
    on_levels = replace(own, why=f"compared on {OWN_LEVELS}, 1 of 8 of which are others than PyTorch's")
    built = replace(SKIPPED, stage=Stage("tensorrt-rtx", "fp8"))
    assert "up to 8 of them (4 in int8) pass" in shown(Verdict((stage("ort", 1.0), plain, built)))
    assert "up to 8 of them (6 in float16) pass" in shown(Verdict((stage("ort", 1.0), on_levels)))


def test_a_graph_judged_by_itself_claims_nothing_of_pytorch() -> None:
    over = replace(stage("ort", 1.0).comparisons[0][1], over_budget=True)
    verdict = Verdict((stage_result(Stage("ort"), [("traced", over)]), SKIPPED), source=GRAPH)
    text = shown(verdict)
    assert "passed, budget not kept by the graph's float32" in text
    assert "The truth is the graph itself in float64" in text
    assert "1 stage within the graph's own rounding" in text
    assert conclusion(verdict).endswith("not compared with PyTorch")
    assert text.count("PyTorch") == 1
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_a_failure_names_the_first_stage_case_and_output() -> None:
    text = shown(Verdict((stage("exported", 1.0), stage("simplified", 99.0, passed=False), stage("ort", 99.0, False))))
    assert "FAILED: the first stage that is wrong is simplified" in text
    assert "case traced, output y: 99 times" in text


@pytest.mark.parametrize("verdict", [Verdict(()), Verdict((SKIPPED,))])
def test_nothing_checked_is_not_a_pass(verdict: Verdict) -> None:
    assert conclusion(verdict).startswith("NOT CHECKED")


def test_markup_in_a_reason_is_printed_as_it_is() -> None:
    assert "[bold]x[/nothing]" in shown(Verdict((not_checked(Stage("s"), "[bold]x[/nothing]"),)))


def test_equal_outputs_are_called_equal() -> None:
    assert stage_sentence(stage("s", 0.0)).startswith("2 cases, 2 outputs: equal")
    assert "inf" not in stage_sentence(stage("s", 1.0))
    assert math.isfinite(stage("s", 1.0).worst_error)


@pytest.mark.parametrize(
    ("error", "words"),
    [(2e-6, "largest error 2.0e-07"), (0.79, "largest error 2.0e-07 (7.9e-01 on extreme inputs, for which PyTorch's")],
)
def test_the_error_is_that_of_ordinary_inputs(error: float, words: str) -> None:
    ordinary = stage("s", 1.0).comparisons[0]
    extreme = ("flat", replace(ordinary[1], error=error, is_stress=True))
    found = stage_result(Stage("s"), [ordinary, extreme])
    sentence = stage_sentence(found)
    assert words in sentence
    assert ("extreme" in sentence) == (error > 0.1)
    assert (found.worst_error, found.worst_stress_error) == (2e-7, error)
    alone = stage_result(Stage("s"), [extreme])
    assert alone.worst_error == error
    assert "extreme" not in stage_sentence(alone)
    assert Verdict.from_json(Verdict((found,)).to_json()).stages[0] == found


def kinds(**kind: object) -> Verdict:
    found = replace(stage("ort", 1.0).comparisons[0][1], **kind)
    return Verdict((stage_result(Stage("ort"), [("traced", found)]), stage("simplified", 1.0)), allows_float32=True)


def test_what_a_pass_is_worth_is_in_the_last_sentence() -> None:
    over, single = kinds(over_budget=True), kinds(no_float64="RuntimeError: no kernel")
    assert conclusion(over).endswith("1 above the budget, which PyTorch's float32 does not keep either")
    assert conclusion(single) == "PASSED: 2 stages within PyTorch's own rounding, 1 of them against PyTorch's float32"
    refused = conclusion(replace(single, allows_float32=False))
    assert refused.startswith("PASSED AGAINST FLOAT32 ONLY")
    assert "--allow-float32-truth" in refused
    assert "passed, budget not kept by PyTorch's float32" in shown(over)
    assert stage_sentence(single.stages[0]).endswith("float64 cannot run case traced: RuntimeError: no kernel")


def test_a_precision_that_was_refused_is_no_pass_and_named_beside_what_passed() -> None:
    int8 = refused(Stage("simplified", "int8"), "int8 leaves nothing to quantise")
    good, bad = stage("onnxruntime cpu", 1.0), stage("simplified", 9.0, passed=False)
    said = conclusion(Verdict((good, int8, not_checked(Stage("tensorrt", ""), "none here"))))
    within = "1 stage within PyTorch's own rounding"
    assert said == f"REFUSED: int8; all else passed: {within}; not checked: tensorrt"
    assert (
        conclusion(Verdict((good, bad, int8))) == "FAILED: the first stage that is wrong is simplified; refused: int8"
    )
    assert conclusion(Verdict((int8,))) == "NOT CHECKED: no stage could be judged; refused: int8"
    assert "int8 leaves nothing to quantise" in shown(Verdict((good, int8)))


def test_slices_that_were_never_finite_are_stated() -> None:
    found = stage_result(Stage("ort"), stage("ort", 1.0).comparisons, unchecked=["index 5 of y is finite in no case"])
    text = shown(Verdict((found, stage("rows", 1.0))))
    assert "NOT CHECKED: ort could not be compared whole" in text
    assert "index 5 of y is finite in no case" in text
