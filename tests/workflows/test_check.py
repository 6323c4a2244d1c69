"""An ONNX file gets a verdict by its own float64 or PyTorch's; what is broken on purpose is caught and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from deployed_once import PLAIN, deployed_once
from foreign_files import convolution, model, quantised, saved
from in_this_process import RuntimeHere
from onnx import TensorProto, helper
from onnx_modules import Net

from attn2trt import CheckedModel, InputError, Judging, Weights, check_model
from attn2trt.core.precision import FP32
from attn2trt.export.precision import LowPrecisionGraph
from attn2trt.validate.cases import Case
from attn2trt.validate.stages.stage import ORT_CPU, ORT_PLAIN, ROWS, Stage
from attn2trt.validate.verdict import StageResult
from attn2trt.workflows.file_judgement import FileJudge
from attn2trt.workflows.precision import PrecisionWriter


def check(found: onnx.ModelProto, folder: Path, **options: Any) -> CheckedModel:
    return check_model(saved(found, folder / "model.onnx"), **{"capabilities": "none", **options})


def stages(checked: CheckedModel) -> dict[str, StageResult]:
    return {stage.label: stage for stage in checked.verdict.stages}


def test_a_healthy_file_passes_by_itself_and_claims_nothing_of_pytorch(tmp_path: Path) -> None:
    checked = check(convolution(), tmp_path, precision="fp32,fp16,int8")
    found = stages(checked)
    ran = [ORT_PLAIN, ORT_CPU, "fp16", "fp16 onnxruntime cpu", "int8", "int8 onnxruntime cpu", ROWS]
    assert [name for name, stage in found.items() if stage.comparisons] == ran
    assert {found[name].status for name in ran} == {"passed"}, found
    assert checked.passed
    assert found["tensorrt"].status == found["tensorrt-rtx"].status == "not checked"
    assert checked.verdict.source == "the graph"
    assert checked.inputs[0].shape == ("batch", 3, 8, 8)
    assert checked.to_json()["against"] is None


def test_every_claimed_size_is_run(tmp_path: Path) -> None:
    baked = {"s": np.array([2, 192], np.int64)}
    checked = check(model([helper.make_node("Reshape", ["x", "s"], ["y"])], baked, out=("n", 192)), tmp_path)
    failed = stages(checked)[ORT_PLAIN]
    assert failed.status == "failed"
    assert "it did not run" in failed.why
    assert "smallest failing shape batch=1" in failed.why


def test_runtimes_are_judged_on_the_very_file(tmp_path: Path) -> None:
    """The copy may run where the file does not: one that declares a batch of 0 takes no other."""
    found = stages(check(convolution(dims=(0, 3, 8, 8)), tmp_path))
    for name in (ORT_PLAIN, ORT_CPU):
        assert found[name].status == "failed"
        assert "received input x of shape 2x3x8x8; expected 0x3x8x8" in found[name].why


def test_a_file_that_changes_while_it_is_judged_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(judge: FileJudge) -> list[Case]:
        judge.model.file.path.write_bytes(b"another")
        return cases(judge)

    cases = FileJudge.cases
    monkeypatch.setattr(FileJudge, "cases", changed)
    with pytest.raises(InputError, match="which changed while it was read"):
        check(convolution(), tmp_path)


@pytest.mark.parametrize(
    ("options", "precision"),
    [({"dtype": TensorProto.FLOAT16}, "fp16"), ({"opset": 9, "ir_version": 4}, FP32), ({"opset": 22}, FP32)],
)
def test_types_inside_and_opsets(tmp_path: Path, options: dict[str, Any], precision: str) -> None:
    checked = check(convolution(**options), tmp_path)
    assert checked.file.precision == precision
    assert checked.passed, checked.verdict
    assert stages(checked)[Stage(ORT_PLAIN, precision).label].status == "passed"


def test_a_quantised_file(tmp_path: Path) -> None:
    checked = check(quantised(), tmp_path, precision="fp32,fp16,int8-fp16")
    found = stages(checked)
    assert checked.file.precision == "int8"
    assert found[Stage(ORT_CPU, "int8").label].status == "passed", found
    assert found["int8-fp16"].status == "passed", found["int8-fp16"]
    assert "the file computes in int8 itself: nothing but int8-fp16 is made of it" in found["fp16"].why


def test_what_has_no_truth_is_not_checked_and_says_why(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    checked = check(model(nodes, out=("n", 3, 8, 8)), tmp_path)
    assert not checked.passed
    assert not checked.verdict.objections
    for stage in (Stage(ORT_PLAIN, "int8"), Stage(ORT_CPU, "int8")):
        found = stages(checked)[stage.label]
        assert found.status == "not checked"
        assert "DynamicQuantizeLinear computes with integers" in found.why


class Optimised(RuntimeHere):
    """ONNX Runtime whose optimiser gets the sigmoid wrong: it reads another graph than the one that it is given."""

    def __init__(self, model: Path | None = None, **options: Any) -> None:
        if model is not None and options.get("optimise"):
            broken = onnx.load(str(model))
            for node in broken.graph.node:
                node.op_type = "HardSigmoid" if node.op_type == "Sigmoid" else node.op_type
            model = model.with_name(f"broken-{model.name}")
            onnx.save(broken, str(model))
        super().__init__(model, **options)


def test_a_runtime_that_computes_something_else_fails_at_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attn2trt.validate.stages.ort_process.IsolatedRuntime", Optimised)
    found = stages(check(convolution(), tmp_path))
    assert found[ORT_PLAIN].status == "passed"
    assert found[ORT_CPU].status == "failed"
    assert "first wrong at ONNX node 1, gate (Sigmoid)" in found[ORT_CPU].why
    assert "times the graph's own rounding" in found[ORT_CPU].why


def test_a_lower_precision_that_was_written_wrong_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = PrecisionWriter.write

    def broken(writer: PrecisionWriter, precision: str) -> LowPrecisionGraph:
        low = own(writer, precision)
        written = onnx.load(str(low.graph.path))
        for node in written.graph.node:
            node.op_type = "HardSigmoid" if node.op_type == "Sigmoid" else node.op_type
        onnx.save(written, str(low.graph.path))
        return low

    monkeypatch.setattr(PrecisionWriter, "write", broken)
    found = stages(check(convolution(), tmp_path, precision="fp32,fp16"))
    assert found[ORT_PLAIN].status == "passed"
    assert found["fp16"].status == "failed"
    assert "the limit is 6" in found["fp16"].why


class Other(Net):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) * 1.0001


class Louder(Net):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) * 1.02


class Two(Net):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return super().forward(left) + right


def test_against_the_module_that_it_is(tmp_path: Path) -> None:
    checked = check(convolution(), tmp_path, against=Net(), precision="fp32,fp16")
    assert checked.passed, checked.verdict
    assert checked.against == "Net"
    assert checked.verdict.source == "PyTorch"
    assert stages(checked)["fp16"].status == "passed"


@pytest.mark.parametrize(
    ("gives", "module", "status"),
    [
        (TensorProto.FLOAT16, Net, "passed"),
        (TensorProto.FLOAT, Net, "passed"),
        (TensorProto.FLOAT16, Louder, "failed"),
    ],
)
def test_a_float16_file_against_its_float32_module(
    tmp_path: Path, gives: int, module: type[torch.nn.Module], status: str
) -> None:
    half = convolution(dtype=TensorProto.FLOAT16)
    if gives == TensorProto.FLOAT:
        half.graph.node[-1].output[0] = "product"
        half.graph.node.append(helper.make_node("Cast", ["product"], ["y"], to=gives))
        half.graph.output[0].type.tensor_type.elem_type = gives
    found = stages(check(half, tmp_path, against=module()))
    for runtime in (ORT_PLAIN, ORT_CPU):
        stage = found[Stage(runtime, "fp16").label]
        assert stage.status == status, stage
    why = found[Stage(ORT_PLAIN, "fp16").label].why
    for words in (
        "times PyTorch's own rounding",
        "without its rounding, the last module whose output it holds is conv (Conv2d), as c",
    ):
        assert (words in why) == (status == "failed")


def test_a_block_of_the_catalogue_takes_its_width_from_the_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = deployed_once(tmp_path_factory, "se", PLAIN)
    checked = check_model(bundle / "model.onnx", against="se", capabilities="none")
    assert checked.passed, checked.verdict
    assert checked.against == "se"


@pytest.mark.parametrize(
    ("node", "draws"),
    [
        (helper.make_node("RandomNormalLike", ["r"], ["d"], scale=1e-9), "RandomNormalLike"),
        (helper.make_node("Dropout", ["r", "ratio", "on"], ["d"]), "Dropout in training mode"),
    ],
)
def test_against_a_module_no_file_draws(tmp_path: Path, node: onnx.NodeProto, draws: str) -> None:
    model = convolution()
    model.graph.node[-1].output[0] = "r"
    model.graph.node.extend([node, helper.make_node("Max", ["r", "d"], ["y"])])
    for name, value in {"ratio": np.float32(1e-7), "on": np.array(True)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    with pytest.raises(InputError, match=rf"whose {draws} gives something else in every run; expected .* in eval mode"):
        check(model, tmp_path, against=Net())


def test_against_another_module_it_fails(tmp_path: Path) -> None:
    other = Other()
    other.register_parameter("scale", torch.nn.Parameter(torch.zeros(2)))
    checked = check(convolution(), tmp_path, against=other)
    assert "scale is all zeros: what it multiplies was not checked" in checked.notes
    failed = stages(checked)[ORT_PLAIN]
    assert failed.status == "failed"
    assert "times PyTorch's own rounding" in failed.why
    assert "the runtime computes what the graph says" in failed.why
    assert "is not what PyTorch computes: the last module whose output it holds is conv (Conv2d), as c" in failed.why
    assert "it holds no output" not in failed.why


class Named(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"total": left * 2 + right, "apart": left - right}


def test_inputs_and_outputs_with_the_module_s_names_are_matched_by_them(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["left", "two"], ["doubled"]),
        helper.make_node("Sub", ["left", "right"], ["apart"]),
    ]
    nodes.append(helper.make_node("Add", ["doubled", "right"], ["total"]))
    found = model(nodes, {"two": np.float32([2])})
    for names, values in ((["right", "left"], found.graph.input), (["apart", "total"], found.graph.output)):
        del values[:]
        values.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in names)
    checked = check(found, tmp_path, against=Named())
    assert checked.passed, checked.verdict


def test_a_module_of_another_number_of_outputs_is_refused_by_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["left", "right"], ["total"])]
    found = model(nodes, out=(4,))
    del found.graph.input[:], found.graph.output[:]
    found.graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("left", "right"))
    found.graph.output.append(helper.make_tensor_value_info("total", TensorProto.FLOAT, [4]))
    with pytest.raises(InputError, match=r"^Named returns 2 tensors, and the outputs of the graph are total; expected"):
        check(found, tmp_path, against=Named())


def test_inputs_are_matched_by_their_order(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"inputs x, and Two.forward takes left, right; expected as many"):
        check(convolution(), tmp_path, against=Two())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"precision": "auto"}, "auto chooses for attn2trt deploy"),
        ({"judging": Judging(verdict=False)}, "without a verdict"),
        ({"dynamic": "h=1:2:3"}, "the file fixes every other dimension"),
        ({"against": Net(), "weights": Weights(random=True)}, "which has weights; expected the same in the module"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        check(convolution(), tmp_path, **options)
