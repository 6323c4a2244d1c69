"""One judge of every stage: its runtime loads or the stage says why not, then the cases, then the rows of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from attn2trt.errors import CheckFailed, MissingRequirement
from attn2trt.validate.cases import Case, Feeds
from attn2trt.validate.metrics import Floor, Reference
from attn2trt.validate.stages.judge import StageJudge, judge, judge_stages, not_loaded, with_advice, with_place
from attn2trt.validate.stages.stage import ORT_CPU, ORT_CUDA, ORT_TUNED, WRITTEN, Stage

NO_KERNEL = "NOT_IMPLEMENTED : Could not find an implementation for Conv(11) node with name 'conv'"


@pytest.mark.parametrize(
    ("stage", "error", "status", "why"),
    [
        (Stage(ORT_CPU), CheckFailed("cannot load the model"), "failed", "cannot load the model"),
        (Stage(ORT_CPU), CheckFailed(NO_KERNEL), "failed", NO_KERNEL),
        (Stage(ORT_CPU, "bf16"), CheckFailed(NO_KERNEL), "not checked", "has no bfloat16 Conv (opset 11)"),
        (Stage(WRITTEN, "bf16"), CheckFailed(NO_KERNEL), "not checked", "has no float32 Conv (opset 11)"),
        (Stage(ORT_CPU, "bf16"), CheckFailed("cannot load the model"), "failed", "cannot load the model"),
        (Stage(WRITTEN), MissingRequirement("pip install onnxruntime"), "not checked", "pip install onnxruntime"),
        (Stage(ORT_CPU, "int8"), MissingRequirement("pip install onnxruntime"), "not checked", "pip install"),
    ],
)
def test_a_runtime_that_is_not_here_is_not_checked_and_a_refused_graph_has_failed(
    stage: Stage, error: CheckFailed | MissingRequirement, status: str, why: str
) -> None:
    found = not_loaded(stage, error)
    assert (found.stage, found.status) == (stage, status)
    assert why in found.why


class Refusing:
    """A runtime that refuses its graph, and counts how often it is asked."""

    def __init__(self, error: Exception | None) -> None:
        self.error, self.asked = error, 0

    def load(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error

    def run(self, feeds: Feeds) -> Feeds:
        return {"y": feeds["x"] * np.float32(2)}


def pairs() -> Iterator[tuple[Case, Reference]]:
    x = np.arange(1, 9, dtype=np.float32).reshape(2, 4)
    truth = Reference({"y": x * 2.0}, {"y": x * 2}, {"y": Floor(6e-8, 6e-8, np.full(4, 6e-8))}, 16.0)
    yield Case.of("traced", {"x": x}), truth


def test_the_cases_come_first_and_then_the_rows_of_a_batch() -> None:
    values, rows = StageJudge(Stage(ORT_TUNED), Refusing(None)).results(pairs)
    assert (values.label, values.status, rows.label, rows.status) == (
        ORT_TUNED,
        "passed",
        f"{ORT_TUNED}, rows",
        "passed",
    )


def test_a_graph_that_is_refused_is_asked_once_and_keeps_no_other_from_being_judged() -> None:
    refusing = Refusing(CheckFailed("cannot load the model"))
    judges = [StageJudge(Stage(WRITTEN), refusing), StageJudge(Stage(ORT_CPU), Refusing(None))]
    first, second = judge_stages(judges, pairs())
    assert (first.status, first.why, second.status) == ("failed", "cannot load the model", "passed")
    assert (judges[0].rows(pairs()), refusing.asked) == ([], 1)


def test_what_a_runtime_that_works_lacks_for_a_graph_is_a_failure() -> None:
    lacking = MissingRequirement("asked for CUDA and received the CPU")
    (found,) = StageJudge(Stage(ORT_CUDA), Refusing(lacking), is_here=True).results(pairs)
    assert (found.status, found.why) == ("failed", "asked for CUDA and received the CPU")


def test_no_case_is_not_checked_with_the_reason() -> None:
    judge = StageJudge(Stage("tensorrt"), Refusing(None), without_cases="no case lies inside")
    assert [(found.status, found.why) for found in judge.results(lambda: iter(()))] == [
        ("not checked", "no case lies inside"),
        ("not checked", "no case was recorded"),
    ]


def test_advice_is_for_numbers_that_failed_and_not_for_a_graph_that_does_not_load() -> None:
    unloaded = not_loaded(Stage(WRITTEN, "fp16"), CheckFailed("cannot load the model"))
    assert with_advice(unloaded) == unloaded
    (case, reference), *_ = pairs()
    failed = judge(Stage(WRITTEN), lambda feeds: {"y": feeds["x"]}, [(case, reference)])
    half, tf32 = (replace(failed, stage=Stage(WRITTEN, precision)) for precision in ("fp16", "tf32"))
    assert with_advice(half).why.endswith("--keep-fp32 MODULE keeps a module in float32")
    assert with_advice(half, of_file=True).why.endswith("--keep-fp32 NODE keeps a node in float32")
    assert with_advice(tf32) == tf32  # which no module can be kept out of


def test_no_place_is_looked_for_where_pytorch_itself_gives_no_number() -> None:
    (case, reference), *_ = pairs()
    nan = {"y": np.full_like(reference.outputs64["y"], np.nan)}
    failed = judge(Stage(WRITTEN), lambda feeds: nan, [(case, replace(reference, outputs64=nan))])
    assert failed.status == "failed"
    assert with_place(failed, lambda names: pytest.fail(f"{names} has no place")) == failed
