"""Cases and verdicts of graphs with float16 inputs and outputs: one rounding of each is no error, a second is."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from attn2trt.core.precision import FP16, PRECISIONS
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.errors import InputError
from attn2trt.validate.cases import Case, make_cases
from attn2trt.validate.half_precision import Half
from attn2trt.validate.metrics import Reference
from attn2trt.validate.recorded import from_tensors
from attn2trt.validate.reference import references
from attn2trt.validate.stages.judge import Loaded, StageJudge, with_advice
from attn2trt.validate.stages.stage import WRITTEN, Stage
from attn2trt.validate.verdict import StageResult
from attn2trt.workflows.judgement import record

HALF = "float16"
INPUTS = [TensorSpec("x", ("batch", 4, 6, 6)), TensorSpec("ids", ("batch",), "int64")]


class Mean(nn.Module):
    """A float32 operator last: its result is rounded once more at a float16 border."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu().softmax(1)


class Loud(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 4096


def half(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):
        return x.astype(HALF)


def softmax(feeds: dict[str, Any]) -> dict[str, Any]:
    """What a float16 graph of Mean computes: float32 inside, rounded at its end."""
    assert feeds["x"].dtype == HALF
    e = np.exp(np.maximum(feeds["x"].astype(np.float32), 0))
    return {"y": half(e / e.sum(1, keepdims=True))}


@functools.cache
def pairs(kind: type[nn.Module], io: str = HALF) -> list[tuple[Case, Reference]]:
    module = kind()
    cases = make_cases(INPUTS[:1], {"batch": Axis(1, 2, 4)}, io=io)
    return list(zip(cases, references(module, cases, ["y"], lower=[Half(FP16, io=io)]), strict=True))


def judged(run: Any, found: list[tuple[Case, Reference]]) -> StageResult:
    stage = StageJudge(Stage(WRITTEN, FP16), Loaded(run), io=HALF)
    for case, reference in found:
        stage.add(case, reference)
    return stage.result()


def test_every_case_is_rounded_and_one_keeps_its_digits_for_float32() -> None:
    plain, cases = make_cases(INPUTS, {"batch": Axis(1, 2, 4)}), make_cases(INPUTS, {"batch": Axis(1, 2, 4)}, io=HALF)
    assert [case.name for case in cases] == [*(case.name for case in plain), "unrounded"]
    for case, before in zip(cases, plain, strict=False):
        assert case.is_for(HALF)
        assert case.is_for("float32")
        assert np.array_equal(case.feeds["x"], half(before.feeds["x"]).astype(np.float32))
        assert np.array_equal(case.feeds["ids"], before.feeds["ids"])
    last = cases[-1]
    assert (last.is_for(HALF), last.is_for("float32")) == (False, True)
    assert not np.array_equal(last.feeds["x"], half(last.feeds["x"]).astype(np.float32))
    integers = (make_cases(INPUTS[1:], {"batch": Axis(1, 2, 4)}, io=io) for io in (HALF, "float32"))
    assert len({len(found) for found in integers}) == 1


def test_bounds_beyond_float16_are_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match=r"received --io fp16 with input x, whose values reach 1e\+05"):
        make_cases([TensorSpec("x", (2, 3), low=0.0, high=1e5)], {}, io=HALF)


def test_the_output_is_rounded_once_and_counts_once() -> None:
    found = pairs(Mean)
    result = judged(softmax, found)
    assert result.status == "passed", result.why
    assert result.worst_ratio < 1.5
    assert result.case_count == len(found) - 1  # not the one for float32
    at_border, inside = (
        max(reference.lower[FP16]["y"].l2 for case, reference in each if case.kind == "normal")
        for each in (found, pairs(Mean, "float32"))
    )
    assert at_border >= 0.3 * PRECISIONS[FP16].unit_roundoff
    assert inside < at_border


def test_a_second_rounding_at_the_border_has_failed() -> None:
    def short(feeds: dict[str, Any]) -> dict[str, Any]:
        """Eight bits of the input, as if it were cast to bfloat16 on its way."""
        bits = feeds["x"].astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
        return softmax({"x": half(bits.view(np.float32))})

    result = judged(short, pairs(Mean))
    assert result.status == "failed"
    assert max(found.ratio for _, found in result.comparisons) > PRECISIONS[FP16].limit


def test_an_output_in_float32_is_the_wrong_type() -> None:
    result = judged(lambda feeds: {"y": softmax(feeds)["y"].astype(np.float32)}, pairs(Mean))
    assert result.status == "failed"
    assert "received dtype float32, expected float16" in result.why


def test_an_output_that_overflows_has_a_message_of_its_own() -> None:
    def loud(feeds: dict[str, Any]) -> dict[str, Any]:
        return {"y": half(feeds["x"].astype(np.float32) * 4096)}

    result = with_advice(judged(loud, pairs(Loud)))
    assert result.status == "failed"
    assert "the output overflows at" in result.why
    assert "float16 ends at 65504; leave --io out, or cast the outputs of your own file" in result.why
    assert "--keep-fp32" not in result.why
    wrong = {found.which for _, found in result.comparisons if not found.passed}
    assert wrong == {"overflow"}


def test_the_rows_of_a_batch_are_fed_in_float16() -> None:
    stage = StageJudge(Stage(WRITTEN, FP16), Loaded(softmax), io=HALF)
    (rows,) = stage.rows(pairs(Mean))
    assert rows.status == "passed", rows.why


def test_the_recorded_cases_say_which_graphs_they_are_for(tmp_path: Path) -> None:
    index, left_out = record(iter(pairs(Mean)), tmp_path / "reference.safetensors")
    assert not left_out
    read = [case for case, _ in from_tensors(tmp_path / "reference.safetensors", index)]
    assert [case.io for case in read] == [""] * (len(read) - 1) + ["float32"]
    assert "io" not in index[0]
