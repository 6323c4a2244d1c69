"""An ONNX file becomes a bundle by the stages of ``check``; what is broken on purpose is caught and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_files import convolution, model, quantised, saved
from onnx import TensorProto, helper
from onnx_modules import Net

from attn2trt import (
    Bundle,
    InputError,
    Judging,
    MissingRequirement,
    PrecisionRequest,
    Weights,
    deploy,
    export_bundle,
    validate_bundle,
)
from attn2trt.cli.summary import bundle_lines
from attn2trt.core.bundle import open_bundle
from attn2trt.core.file_hashes import verify
from attn2trt.core.graph import OnnxGraph
from attn2trt.core.progress import StageTimes
from attn2trt.export.onnx_file import OnnxFileReader
from attn2trt.export.simplify import Simplifier
from attn2trt.validate.stages.stage import ORT_CPU, ORT_PLAIN, WRITTEN, Stage
from attn2trt.validate.verdict import StageResult, Verdict
from attn2trt.workflows.deploy_file import FileTarget, _Maker
from attn2trt.workflows.deploy_request import DeployRequest


def made(found: onnx.ModelProto, folder: Path, **options: Any) -> Bundle:
    path = saved(found, folder / "file.onnx")
    return deploy(str(path), out=folder / "bundle", **{"capabilities": "none", **options})


def stages(verdict: Verdict) -> dict[str, StageResult]:
    return {stage.label: stage for stage in verdict.stages}


def recorded(bundle: Bundle) -> dict[str, StageResult]:
    return stages(Verdict.from_json(bundle.manifest["verdict"]))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made(convolution(), tmp_path_factory.mktemp("file"), precision="fp32,tf32,fp16")


def test_every_graph_is_judged_by_the_float64_of_the_file(bundle: Bundle) -> None:
    lower = ["tf32", "fp16", "fp16 onnxruntime cpu"]
    found = recorded(bundle)
    ran = [ORT_PLAIN, WRITTEN, ORT_CPU, *lower, "batch consistency"]
    assert [name for name, stage in found.items() if stage.comparisons] == ran
    assert {found[name].status for name in ran} == {"passed"}, found
    assert bundle.passed
    assert sorted(bundle.graphs) == ["fp16", "fp32", "tf32"]
    assert all(finding.ok for finding in verify(bundle))


def test_the_manifest_says_what_was_not_compared(bundle: Bundle) -> None:
    manifest: Any = bundle.manifest
    assert manifest["verdict"]["source"] == "the graph"
    assert "not compared with PyTorch: the truth is the graph itself in float64" in manifest["notes"]
    assert manifest["against"] is None
    assert manifest["build"] is None
    assert manifest["onnx_file"]["opset"] == 17
    assert len(manifest["onnx_file"]["sha256"]) == 64
    assert "from the graph in float64" in (bundle.path / "infer.py").read_text()


def test_the_summary_says_how_a_file_gets_another_batch(bundle: Bundle) -> None:
    assert "batch    1:2:8 by default; --dynamic batch=MIN:OPT:MAX gives another range" in bundle_lines(bundle)


def test_it_is_judged_again_by_what_it_recorded(bundle: Bundle) -> None:
    again = validate_bundle(bundle)
    assert again
    assert again.source == "the graph"
    found = stages(again)
    assert found[ORT_PLAIN].status == "not checked"
    assert "recorded at export: passed" in found[ORT_PLAIN].why
    assert {found[name].status for name in (WRITTEN, ORT_CPU, "tf32", "fp16")} == {"passed"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "precision"), [(convolution(dtype=TensorProto.FLOAT16), "fp16"), (quantised(), "int8")]
)
def test_a_file_keeps_its_precision(tmp_path: Path, found: onnx.ModelProto, precision: str) -> None:
    bundle = made(found, tmp_path)
    assert bundle.precision == precision
    assert bundle.graphs == {precision: "model.onnx"}
    assert bundle.passed, recorded(bundle)
    assert stages(validate_bundle(bundle))[Stage(ORT_CPU, precision).label].status == "passed"
    with pytest.raises(InputError, match=r"received --precision bf16 with .*file\.onnx: the file computes in"):
        made(found, tmp_path, precision="fp32,bf16")


@pytest.mark.slow
def test_a_file_of_an_old_version_whose_weights_are_inputs(tmp_path: Path) -> None:
    old = convolution(opset=9, ir_version=3)
    for name, dims in (("w", (4, 3, 3, 3)), ("b", (4,))):
        old.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    old.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    bundle = made(old, tmp_path)
    assert bundle.passed, recorded(bundle)
    assert bundle.manifest["opset"] == 9
    assert bundle.manifest["onnx_file"]["ir_version"] == 3


class Broken(Simplifier):
    """A simplifier that turns a sigmoid into something that is not far from one, and says nothing."""

    def _run(self, source: Path, destination: Path) -> str:
        found = onnx.load(str(source))
        for node in found.graph.node:
            node.op_type = "HardSigmoid" if node.op_type == "Sigmoid" else node.op_type
        onnx.save(found, str(destination))
        return ""


def test_a_simplified_graph_that_is_another_function_fails_at_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attn2trt.workflows.deploy_file.Simplifier", Broken)
    bundle = made(convolution(), tmp_path)
    found = recorded(bundle)
    assert not bundle.passed
    assert found[ORT_PLAIN].status == "passed"
    assert found[WRITTEN].status == "failed"
    assert "first wrong at ONNX node 1, gate (HardSigmoid)" in found[WRITTEN].why


@pytest.mark.slow
def test_a_copy_that_is_another_function_than_the_file_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is the copy's, and the file itself is run."""
    write = OnnxFileReader.write

    def other(reader: OnnxFileReader, path: Path, *rest: Any) -> OnnxGraph:
        graph = write(reader, path, *rest)
        Broken()._run(path, path)
        return graph

    monkeypatch.setattr(OnnxFileReader, "write", other)
    bundle = made(convolution(), tmp_path)
    found = recorded(bundle)
    assert not bundle.passed
    assert (found[ORT_PLAIN].status, found[WRITTEN].status) == ("failed", "passed")


@pytest.mark.slow
def test_a_file_that_onnx_runtime_does_not_load_fails(tmp_path: Path) -> None:
    alike = convolution()
    for node in alike.graph.node:
        node.name = "alike"
    found = recorded(made(alike, tmp_path))
    assert found[ORT_PLAIN].status == "failed"
    assert "ONNX Runtime cannot load" in found[ORT_PLAIN].why


class Refusing(Simplifier):
    def _run(self, source: Path, destination: Path) -> str:
        return "onnxsim was killed"


@pytest.mark.slow
def test_a_graph_that_cannot_be_simplified_is_deployed_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attn2trt.workflows.deploy_file.Simplifier", Refusing)
    bundle = made(convolution(), tmp_path)
    found = recorded(bundle)
    assert bundle.passed
    assert found[WRITTEN].status == "not checked"
    assert "deployed as it was exported: onnxsim was killed" in found[WRITTEN].why
    assert found[ORT_CPU].status == "passed"


@pytest.mark.slow
def test_against_the_module_that_it_is_and_another(tmp_path: Path) -> None:
    bundle = made(convolution(), tmp_path, against=Net(), precision="fp32,fp16")
    assert bundle.passed, recorded(bundle)
    assert bundle.manifest["against"] == "Net"
    assert "source" not in bundle.manifest["verdict"]
    other = Net()
    other.conv.weight.data *= 1.001
    assert recorded(made(convolution(), tmp_path, against=other))[ORT_PLAIN].status == "failed"


def test_the_key_holds_the_file_and_the_weights_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    beside = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    order = DeployRequest.of(17, "fp32", Weights(), Judging(), "none")

    def key(**options: Any) -> str:
        with OnnxFileReader(path) as reader:
            return _Maker.of(FileTarget("name", path, **options), order, reader, StageTimes(None)).key

    onnx.save_model(convolution(), str(path), **beside)
    keys = [key(), key(dynamic="n=none")]
    content = bytearray((tmp_path / "w.bin").read_bytes())
    content[3] ^= 1
    (tmp_path / "w.bin").write_bytes(bytes(content))
    keys.append(key())
    onnx.save_model(convolution(opset=18), str(path), **beside)
    keys += [key(), key(against="se")]
    assert len({*keys}) == len(keys)
    assert key() == keys[3]


@pytest.mark.slow
def test_the_same_file_is_not_deployed_again(tmp_path: Path) -> None:
    assert not made(convolution(), tmp_path).reused
    assert made(convolution(), tmp_path).reused
    assert not made(convolution(opset=18), tmp_path).reused


@pytest.mark.slow
def test_an_export_records_the_truth_and_judges_nothing(tmp_path: Path) -> None:
    bundle = export_bundle(str(saved(convolution(), tmp_path / "a.onnx")), out=tmp_path / "b", dynamic="n=none")
    assert not bundle.passed
    assert bundle.axes == {}
    assert "export only" in recorded(bundle)[ORT_CPU].why
    assert validate_bundle(bundle)


@pytest.mark.slow
def test_names_of_axes_are_kept_and_ranges_narrowed(tmp_path: Path) -> None:
    found = convolution(dims=("n", 3, "h", "w"), out=("n", 4, "h", "w"))
    bundle = made(found, tmp_path, dynamic="n=1:1:2,h=8:8:16,w=none", shapes=["1x3x8x8"])
    assert {name: str(axis) for name, axis in bundle.axes.items()} == {"batch": "1:1:2", "h": "8:8:16"}
    assert bundle.inputs[0].shape == ("batch", 3, "h", 8)
    assert bundle.passed


def test_without_a_truth_there_is_no_bundle(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    with pytest.raises(MissingRequirement, match=r"no truth in float64 \(DynamicQuantizeLinear .* --against"):
        made(model(nodes, out=("n", 3, 8, 8)), tmp_path)
    assert not (tmp_path / "bundle").exists()


def test_a_name_that_would_end_a_line_of_the_script_is_refused(tmp_path: Path) -> None:
    found = model([helper.make_node("Relu", ["x\nimport os"], ["y"])], out=("n", 3, 8, 8))
    found.graph.input[0].name = "x\nimport os"
    with pytest.raises(InputError, match="no name to print"):
        made(found, tmp_path)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"precision": "auto"}, r"received --precision auto with the ONNX file"),
        ({"opset": 18}, r"received --opset 18 with the ONNX file"),
        ({"weights": Weights(checkpoint="a.pt")}, r"received --checkpoint with the ONNX file"),
        ({"weights": Weights(random=True), "against": Net()}, r"received --random-weights with the ONNX file"),
        ({"layout": "nhwc"}, r"received a layout"),
        ({"example_inputs": np.zeros(3)}, r"received example_inputs"),
        ({"dynamic": "h=1:2:3"}, r"the file fixes every other dimension"),
        ({"precision": "fp32,fp16", "against": Net(), "keep": ["c"]}, r"--keep-fp32 names nodes of the file"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    if "keep" in options:
        options = {**options, "precision": PrecisionRequest(precisions="fp16", keep_fp32=options["keep"])}
        del options["keep"]
    with pytest.raises(InputError, match=why):
        made(convolution(), tmp_path, **options)
    assert not (tmp_path / "bundle").exists()


def test_against_goes_with_a_file_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="received against with a PyTorch target"):
        deploy("se", against="se", out=tmp_path / "se")


def test_other_commands_say_what_to_do_with_a_file(tmp_path: Path) -> None:
    path = saved(convolution(), tmp_path / "file.onnx")
    with pytest.raises(InputError, match=r"it is an ONNX file; make a bundle of it by `attn2trt deploy"):
        open_bundle(path)


def test_the_manifest_is_strict_about_the_precision(bundle: Bundle, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(bundle.path, tmp_path / "copy")
    file = tmp_path / "copy" / "bundle.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "precision": "fp17"}))
    with pytest.raises(InputError, match="'precision'"):
        open_bundle(tmp_path / "copy")
