"""Modules that quantise themselves: their bundles, and what goes with such a module."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from quantised_nets import SHAPE, Gated, Quantised, trained

from attn2trt.core.bundle import Bundle
from attn2trt.errors import InputError
from attn2trt.export.candidates import choices, write
from attn2trt.report.verdict_section import limit_of
from attn2trt.validate.recorded import recorded_cases
from attn2trt.validate.stages.onnxruntime import judge_graph_for_plan
from attn2trt.validate.stages.stage import TUNED_GRAPH, Stage
from attn2trt.validate.verdict import FAILED, StageResult, Verdict
from attn2trt.workflows.check import check_model
from attn2trt.workflows.deploy import deploy
from attn2trt.workflows.options import PrecisionRequest
from attn2trt.workflows.validate import validate_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return deploy(trained(), torch.randn(SHAPE), out=tmp_path_factory.mktemp("bundles") / "net", capabilities="none")


def on_levels(verdict: Verdict) -> list[str]:
    own = [stage for stage in verdict.stages if "the graph's own levels" in stage.why]
    return [str(stage.stage) for stage in own if stage.has_passed]


def test_a_bundle_is_in_8_bits_and_judged_on_its_levels(bundle: Bundle) -> None:
    assert bundle.passed, bundle.manifest["verdict"]
    assert bundle.precision == "int8"
    assert bundle.has_own_levels
    assert bundle.manifest["files"]["model.onnx"]["role"] == "graph, int8"
    assert "--int8" in bundle.manifest["trtexec"].split()
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    assert on_levels(verdict) == ["int8 torch → onnx", "int8"]
    assert {str(stage.stage) for stage in verdict.stages if stage.has_passed} > {"int8 onnxruntime cpu"}


def test_its_report_has_the_limit_of_float32_and_asks_for_no_other_precision(bundle: Bundle) -> None:
    page = (bundle.path / "report.html").read_text()
    assert "The bundle has no graph below that which it was made of." in page
    assert "--precision fp32,fp16" not in page
    stages = Verdict.from_json(bundle.manifest["verdict"]).stages
    assert [limit_of(stage) for stage in stages[:3]] == [8.0, 8.0, 4.0]


def test_it_is_validated_on_its_levels_without_the_module(bundle: Bundle) -> None:
    found = validate_bundle(bundle)
    assert found
    assert "int8" in on_levels(found)


def test_a_file_of_it_is_held_against_the_module_on_its_levels(bundle: Bundle) -> None:
    found = check_model(bundle.model_path, against=trained(), capabilities="none").verdict
    assert found
    assert on_levels(found) == ["int8 onnxruntime, as written"]


@pytest.mark.parametrize(
    ("request_of", "words"),
    [
        (PrecisionRequest(precisions="fp32,fp16"), "--precision fp16 with Quantised"),
        (PrecisionRequest(precisions="auto"), "--precision auto with Quantised"),
        (PrecisionRequest(precisions="int8", calibration="entropy"), "--calibration with Quantised"),
        (PrecisionRequest(precisions="int8", keep_fp32=["first"]), "--keep-fp32 with Quantised"),
        (PrecisionRequest(precisions="int8-fp16,fp8"), "--precision fp8 with Quantised"),
    ],
)
def test_no_other_levels_are_made_of_it(request_of: PrecisionRequest, words: str) -> None:
    left_out = words.partition(" with ")[0].split()[-1]
    with pytest.raises(
        InputError,
        match=f"received {words}, which quantises itself: .*no precision beside it but int8-fp16; leave {left_out} out",
    ):
        request_of.beside("int8", "Quantised")


def test_its_levels_may_have_half_precision_between_them(tmp_path: Path) -> None:
    request = PrecisionRequest(precisions="int8,int8-fp16", keep_fp32=["first"], io="fp16")
    left = request.beside("int8", "Gated")
    assert (left.lower, left.keep_fp32, left.io) == (("int8-fp16",), ["first"], "fp16")
    given: dict[str, Any] = {"precision": request, "dynamic": "none", "capabilities": "none"}
    bundle = deploy(Gated(), torch.randn(SHAPE), out=tmp_path / "net", **given)
    assert bundle.passed, bundle.manifest["verdict"]
    entry = bundle.precisions["int8-fp16"]
    assert {one["module"] for one in entry["kept"].values()} == {"first"}
    assert entry["inputs_and_outputs"] == "float16"
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    assert on_levels(verdict) == ["int8 torch → onnx", "int8", "int8-fp16"]
    assert limit_of(next(stage for stage in verdict.stages if str(stage.stage) == "int8-fp16")) == 6.0
    found = validate_bundle(bundle)
    assert found
    assert "int8-fp16" in on_levels(found)
    _is_rewritten_for_tensorrt(bundle, "int8-fp16", tmp_path / "rewritten.onnx")


def _is_rewritten_for_tensorrt(bundle: Bundle, precision: str, path: Path) -> None:
    """Its levels stay as they are, and a rewritten graph is judged on them: one with other weights fails."""
    offered = choices(bundle, precision)
    assert not any(choice.name.endswith("8 bits") for choice in offered)
    write(bundle, precision, [choice for choice in offered if choice.name == "mean as GlobalAveragePool"], path)
    before, after = onnx.load(str(bundle.path / bundle.graphs[precision])), onnx.load(str(path))
    pairs = [[node.op_type for node in one.graph.node if "Quantize" in node.op_type] for one in (before, after)]
    assert pairs[0] == pairs[1] != []
    assert "GlobalAveragePool" in {node.op_type for node in after.graph.node}

    def judged() -> StageResult:
        stage = Stage(TUNED_GRAPH["tensorrt"], precision)
        (found,) = judge_graph_for_plan(bundle, path, stage, partial(recorded_cases, bundle))
        return found

    assert on_levels(Verdict((judged(),)))
    bias = next(one for one in after.graph.initializer if one.name.endswith("first.bias"))
    numbers = onnx.numpy_helper.to_array(bias)
    bias.CopyFrom(onnx.numpy_helper.from_array(numbers * numbers.dtype.type(1.1), bias.name))
    onnx.save(after, str(path))
    assert judged().status == FAILED


def test_a_deploy_that_would_lower_it_writes_nothing(tmp_path: Path) -> None:
    request = PrecisionRequest(precisions="fp32,fp16")
    with pytest.raises(InputError, match="received --precision fp16 with Quantised, which quantises itself"):
        deploy(Quantised(), torch.randn(SHAPE), out=tmp_path / "net", precision=request, capabilities="none")
    assert list(tmp_path.iterdir()) == []
