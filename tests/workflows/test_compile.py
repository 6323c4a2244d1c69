"""Compiling as far as it goes without a GPU, and what a bundle makes of a plan that it holds."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_run import run
from deployed_once import EVERY_PRECISION, PLAIN, deployed_once
from manifest_edits import edit

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.computed_in import lowered_nodes
from attn2trt.core.extend import extend
from attn2trt.core.file_hashes import verify
from attn2trt.engines.environment import Component, Driver
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.engines.tensorrt import here, plan_build
from attn2trt.engines.tensorrt.build import BuildOrder
from attn2trt.engines.tensorrt.plans import Plan, layers_name
from attn2trt.errors import CheckFailed, InputError, Interrupted, MissingRequirement
from attn2trt.validate.stages import tensorrt as plan_stages
from attn2trt.validate.stages.layer_precision import check_layers, is_fuller
from attn2trt.validate.verdict import StageResult
from attn2trt.workflows import compile as compiling
from attn2trt.workflows import validate as validating
from attn2trt.workflows.validate import validate_bundle

USABLE = Component("TensorRT", "usable", "8.6.0")
DRIVER = Driver("CUDA 13.0", ("NVIDIA H200 (compute capability 9.0)",))
# a layer that no node of ours is in
LAYERS: list[Any] = [{"Name": "Reformatting CopyNode", "LayerType": "Reformat", "Inputs": [], "Outputs": []}]
BUILT = {"flavour": "tensorrt", "tensorrt": "8.6.0", "gpu": "NVIDIA H200", "capabilities": ["9.0"]} | {
    "driver": "13.0",
    "seconds": 2.0,
    "device_bytes": 1024,
}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed_once(tmp_path_factory, "se", PLAIN)


@pytest.fixture
def bundle(deployed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(deployed, tmp_path / "se"))


@pytest.fixture(autouse=True)
def plans_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have validate run no graph by ONNX Runtime, which other tests do: here it is about plans."""
    monkeypatch.setattr(validating, "judge_graphs", lambda *_, **__: ())


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> list[BuildOrder]:
    """A machine with a GPU whose builder writes a few bytes; the orders that it was given."""
    orders: list[BuildOrder] = []

    def build(order: BuildOrder) -> Mapping[str, Any]:
        orders.append(order)
        order.plan.write_bytes(b"plan")
        order.log.write_text("INFO: built")
        order.layers.write_text(json.dumps({"Layers": LAYERS}))
        return BUILT

    monkeypatch.setattr(compiling, "probe_tensorrt", lambda: USABLE)
    monkeypatch.setattr(plan_build, "start_build", stand_in_child(build))
    monkeypatch.setattr(here, "probe_tensorrt", lambda: USABLE)
    monkeypatch.setattr(here, "ask_driver", lambda: DRIVER)
    return orders


def stand_in_child(build: Callable[[BuildOrder], Mapping[str, Any]]) -> Callable[..., Any]:
    """A stand-in for ``start_build``: ``build`` in this process."""

    class Child:
        def __init__(self, order: BuildOrder, *, seconds: float) -> None:
            self._order = order

        def __exit__(self, *_: object) -> None:
            return None

        def built(self) -> Mapping[str, Any]:
            return build(self._order)

    return Child


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Component("TensorRT", "missing", "", "needed to compile plans", "pip install tensorrt")
    monkeypatch.setattr(compiling, "probe_tensorrt", lambda: missing)
    monkeypatch.setattr(here, "probe_tensorrt", lambda: missing)


@pytest.mark.usefixtures("no_gpu")
def test_without_tensorrt_it_ends_with_exit_code_3_and_the_fix(bundle: Path) -> None:
    before = sorted(bundle.rglob("*"))
    result = run("compile", bundle)
    assert result.exit_code == 3
    assert result.stderr.strip().splitlines()[-1] == (
        "error: TensorRT is missing (needed to compile plans), and builds on the machine that runs the plan; "
        "pip install tensorrt, or name GPUs with --for sm86,sm89,sm120, which TensorRT for RTX builds for without one"
    )
    assert sorted(bundle.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--profile", "batch=1:2:9"), "received --profile batch=1:2:9; the bundle was checked for batch 1:2:4"),
        (("--profile", "batch=9:1:1"), "received --profile batch=9:1:1: range 9:1:1 is not min:opt:max with 1 <= min"),
        (("--profile", "batch=0"), "received --profile batch=0: range 0:0:0 is not min:opt:max"),
        (("--level", "6"), "is not in the range 0<=x<=5"),
        (("--without-tactics", "cublas2"), "'cublas2' is not one of"),
    ],
)
def test_wrong_options_are_exit_code_2(bundle: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run("compile", bundle, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tuned",), "received --tuned with --precision fp32; .* has no graph of it that was tuned for TensorRT"),
        (("--tuned", "--for", "sm86"), "has no graph of it that was tuned for TensorRT for RTX"),
        (("--version-compatible", "--for", "sm86"), "received --version-compatible, which TensorRT for RTX does not"),
    ],
)
def test_what_no_tensorrt_could_do_is_said_before_one_is_asked_for(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(compiling, "probe_rtx", lambda: Component("TensorRT for RTX", "missing"))
    result = run("compile", bundle, *arguments)
    assert (result.exit_code, bool(re.search(said, result.stderr))) == (2, True), result.stderr


def test_a_folder_that_is_no_bundle_and_a_changed_file_are_refused(bundle: Path, tmp_path: Path) -> None:
    assert run("compile", tmp_path).exit_code == 2
    (bundle / "model.onnx").write_bytes(b"other")
    assert run("compile", bundle).exit_code == 1


def test_the_plan_becomes_part_of_the_bundle(bundle: Path, builder: list[BuildOrder]) -> None:
    found, plan = compiling.compile_bundle(bundle, profiles=["batch=1", "batch=2:2:4"])
    assert (bundle / "plans/sm90-trt8.6.0-fp32.plan").read_bytes() == b"plan"
    assert (bundle / "plans/fp32.log").read_text() == "INFO: built"
    assert sorted(path.name for path in (bundle / "plans").iterdir()) == [
        *("fp32.log", "sm90-trt8.6.0-fp32.layers.json", "sm90-trt8.6.0-fp32.plan"),
    ]
    again = open_bundle(bundle)
    assert dict(again.manifest) == dict(found.manifest)
    assert [Plan.from_json(entry) for entry in again.manifest["plans"]] == [plan]
    assert plan.graph == again.manifest["files"]["model.onnx"]["sha256"]
    assert all(finding.ok for finding in verify(bundle))
    (bundle / plan.file).write_bytes(b"changed")
    assert [finding.file for finding in verify(bundle) if not finding.ok] == [plan.file]
    assert [str(profile) for profile in builder[0].profiles] == ["batch=1:1:1", "batch=2:2:4"]


def test_a_plan_for_the_same_machine_is_replaced(bundle: Path, builder: list[BuildOrder]) -> None:
    for _ in range(2):
        found, _plan = compiling.compile_bundle(bundle)
    assert len(builder) == 2
    assert len(found.manifest["plans"]) == 1


def test_kernels_that_were_timed_are_read_if_the_manifest_lists_them(
    bundle: Path, builder: list[BuildOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = iter([b"first", b"second", b"second"])

    def build(order: BuildOrder) -> Mapping[str, Any]:
        builder.append(order)
        order.plan.write_bytes(b"plan")
        order.cache.write_bytes(next(contents))
        return BUILT

    monkeypatch.setattr(plan_build, "start_build", stand_in_child(build))
    names = ["plans/timing.cache", "plans/timing.2.cache", "plans/timing.2.cache"]
    for name in names:
        found, _plan = compiling.compile_bundle(bundle)
        listed = {file: entry for file, entry in found.manifest["files"].items() if file.endswith(".cache")}
        assert list(listed) == [name]
        assert "timed on NVIDIA H200" in listed[name]["role"]
        assert all(finding.ok for finding in verify(bundle))
        assert [path.name for path in (bundle / "plans").glob("*.cache")] == [Path(name).name]
    known = [order.known_cache for order in builder]
    assert known == [None, *((bundle / name).resolve() for name in names[:2])]
    assert [order.known_sha256 for order in builder] == [
        *("", hashlib.sha256(b"first").hexdigest(), hashlib.sha256(b"second").hexdigest()),
    ]


def test_kernels_that_the_manifest_does_not_list_are_not_read(bundle: Path, builder: list[BuildOrder]) -> None:
    (bundle / "plans").mkdir()
    for name in ("timing.cache", "timing.2.cache"):
        (bundle / "plans" / name).write_bytes(b"of somebody")
    lines: list[str] = []
    found, _plan = compiling.compile_bundle(bundle, progress=lines.append)
    assert builder[0].known_cache is None
    (line,) = (line for line in lines if "timing.cache" in line)
    assert line == "plans/timing.cache is not listed in the manifest and is not read: all kernels are timed"
    assert not [name for name in found.manifest["files"] if name.endswith(".cache")]


def test_a_listed_cache_that_has_changed_is_refused(bundle: Path, builder: list[BuildOrder]) -> None:
    (bundle / "plans").mkdir()
    (bundle / "plans/timing.cache").write_bytes(b"timed")
    extend(open_bundle(bundle), {"plans/timing.cache": "kernels that TensorRT timed"}, {})
    (bundle / "plans/timing.cache").write_bytes(b"of somebody")
    with pytest.raises(CheckFailed, match=r"timing.cache: changed"):
        compiling.compile_bundle(bundle)
    assert builder == []


def test_a_builder_that_fails_leaves_its_log_and_no_plan(
    bundle: Path, builder: list[BuildOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(order: BuildOrder) -> Mapping[str, Any]:
        order.log.write_text("ERROR: no")
        raise CheckFailed("TensorRT 8.6.0 cannot build the plan: no")

    monkeypatch.setattr(plan_build, "start_build", stand_in_child(fail))
    manifest = (bundle / "bundle.json").read_bytes()
    with pytest.raises(CheckFailed, match="cannot build the plan"):
        compiling.compile_bundle(bundle)
    assert (bundle / "bundle.json").read_bytes() == manifest
    assert [path.name for path in (bundle / "plans").iterdir()] == ["fp32.log"]


class Stand:
    """ONNX Runtime in place of a plan; ``factor`` scales what it returns, ``told`` is the inspector's after a run."""

    factor = 1.0
    told = ""

    def __init__(self, bundle: Bundle, plan: Plan) -> None:
        self._runtime = OrtRuntime(bundle.path / bundle.graphs[plan.precision])

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def load(self) -> None:
        return None

    def layers(self) -> str:
        return self.told

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        return {name: value * np.float32(self.factor) for name, value in self._runtime.run(feeds).items()}


def stages(path: Path) -> Iterator[StageResult]:
    """Yield the stages that ran plans; only the tests of layers look at the layers' stages."""
    found = (stage for stage in validate_bundle(path).stages if stage.label.startswith("tensorrt"))
    return (stage for stage in found if not stage.label.endswith("layers"))


@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize(("factor", "status"), [(1.0, "passed"), (1.01, "failed")])
def test_a_plan_is_judged_as_every_runtime_is(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, factor: float, status: str
) -> None:
    monkeypatch.setattr(plan_stages, "IsolatedPlan", type("Scaled", (Stand,), {"factor": factor}))
    compiling.compile_bundle(bundle)
    judged, rows = stages(bundle)
    assert (judged.label, judged.status, rows.label) == ("tensorrt fp32", status, "tensorrt fp32, rows")
    assert judged.case_count == len(open_bundle(bundle).manifest["cases"])


@pytest.mark.usefixtures("builder")
def test_only_cases_inside_of_its_profiles_are_asked_of_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_stages, "IsolatedPlan", Stand)
    compiling.compile_bundle(bundle, profiles=["batch=1"])
    judged, _rows = stages(bundle)
    assert judged.status == "passed"
    assert {sizes for _, found in judged.comparisons for sizes in found.sizes} == {("batch", 1)}
    opened = open_bundle(bundle)
    extend(opened, {}, {"cases": [case for case in opened.manifest["cases"] if case["sizes"]["batch"] != 3]})
    compiling.compile_bundle(bundle, profiles=["batch=3"])
    (judged, _rows) = stages(bundle)
    assert judged.status == "not checked"
    assert "no recorded case lies inside" in judged.why


@pytest.mark.usefixtures("builder")
def test_a_plan_of_another_graph_or_machine_is_never_a_pass(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, plan = compiling.compile_bundle(bundle)
    found = extend(found, {}, {"plans": [{**plan.to_json(), "graph": "0" * 64}]})
    (judged,) = stages(bundle)
    assert judged.status == "failed"
    assert "built from another graph" in judged.why
    extend(found, {}, {"plans": [plan.to_json()]})
    monkeypatch.setattr(here, "ask_driver", lambda: Driver("", ("Orin (compute capability 8.7)",)))
    (judged,) = stages(bundle)
    assert judged.status == "not checked"
    assert "here is TensorRT 8.6.0 on sm87" in judged.why


@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize(
    ("error", "status"),
    [(CheckFailed("TensorRT's process was killed"), "failed"), (MissingRequirement("no driver"), "not checked")],
)
def test_a_plan_that_does_not_load_is_never_a_pass(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    def load(_: Stand) -> None:
        raise error

    monkeypatch.setattr(plan_stages, "IsolatedPlan", type("Dead", (Stand,), {"load": load}))
    compiling.compile_bundle(bundle)
    (judged,) = stages(bundle)
    assert (judged.status, judged.why) == (status, str(error))


def test_compiling_without_a_gpu_raises_what_the_command_prints(bundle: Path, no_gpu: None) -> None:
    with pytest.raises(MissingRequirement, match="pip install tensorrt"):
        compiling.compile_bundle(bundle)


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a graph of every precision."""
    return deployed_once(tmp_path_factory, "cbam", EVERY_PRECISION)


def test_a_plan_is_built_from_the_graph_of_its_precision_and_judged_by_its_floors(
    lowered: Path, tmp_path: Path, builder: list[BuildOrder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_stages, "IsolatedPlan", Stand)
    bundle = Path(shutil.copytree(lowered, tmp_path / "cbam"))
    result = run("compile", bundle, "--precision", "int8,fp16,fp32")
    assert result.exit_code == 0, result.output
    assert [(order.graph.name, order.precision) for order in builder] == [
        *(("model.onnx", "fp32"), ("model.fp16.onnx", "fp16"), ("model.int8.onnx", "int8")),
    ]
    assert "each plan against the recorded PyTorch outputs: not checked so far" in result.output
    assert any(name.startswith("quantize_") for name in builder[2].modules)
    found = {stage.label: stage for stage in stages(bundle)}
    assert [name for name in found if not name.endswith("rows")] == [
        *("tensorrt fp32", "tensorrt fp16", "tensorrt int8"),
    ]
    assert all(stage.status == "passed" for stage in found.values())
    # integers lose more than float32 may, and no more than integers may
    assert found["tensorrt int8"].worst_error > found["tensorrt fp32"].worst_error * 100


def test_nothing_is_built_if_one_of_the_precisions_cannot_be(bundle: Path, builder: list[BuildOrder]) -> None:
    before = sorted(bundle.rglob("*"))
    result = run("compile", bundle, "--precision", "fp32,fp16")
    assert (result.exit_code, builder, sorted(bundle.rglob("*"))) == (2, [], before)
    assert "received --precision fp16; expected one that the bundle holds: fp32" in result.stderr


def test_a_bundle_that_did_not_pass_is_said_to_have_not(bundle: Path, builder: list[BuildOrder]) -> None:
    words = "what is built of it is unchecked, or computes something else"
    assert words not in run("compile", bundle).stderr
    edit(bundle, lambda manifest: manifest["verdict"].update(passed=False))
    assert words in run("compile", bundle).stderr
    assert len(builder) == 2


@pytest.mark.usefixtures("builder")
def test_a_precision_that_is_not_there_or_not_read_is_exit_code_2(bundle: Path, lowered: Path) -> None:
    result = run("compile", bundle, "--precision", "fp16")
    assert result.exit_code == 2
    assert "received --precision fp16; expected one that the bundle holds: fp32; deploy the target" in result.stderr
    result = run("compile", lowered, "--precision", "bf16")
    assert result.exit_code == 2
    assert "whose graph TensorRT reads from 10.15 on; here is 8.6.0" in result.stderr
    result = run("compile", bundle, "--precision", "fp12")
    assert result.exit_code == 2
    assert "received precision 'fp12'" in result.stderr


def conv_layer(bundle: Path, precision: str, format_: str, weights: str) -> dict[str, Any]:
    """A layer of the graph's convolutions, as the inspector tells of one."""
    nodes = lowered_nodes(bundle / open_bundle(bundle).graphs[precision], precision)
    assert nodes
    return {
        "Name": " + ".join(sorted(nodes)),
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Format/Datatype": format_}],
        "Outputs": [{"Name": "y", "Format/Datatype": format_}],
        "Weights": {"Type": weights, "Count": 9},
        "TacticName": "sm80_xmma_fprop",
    }


@pytest.mark.usefixtures("builder")
def test_a_plan_that_computes_in_more_than_was_asked_for_has_failed(
    lowered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_stages, "IsolatedPlan", Stand)
    bundle = Path(shutil.copytree(lowered, tmp_path / "cbam"))
    words = {"fp16": "float16", "int8": "int8"}
    low = {
        "fp16": ("Channel major FP16 format where channel % 8 == 0", "Half"),
        "int8": ("Row major Int8 format", "Int8"),
    }
    full = "Row major linear FP32"
    cases = [
        (lambda precision: low[precision], "passed", "nodes compute in {}"),
        # its first input may be float32 even if its weights are not
        (lambda precision: (full, low[precision][1]), "passed", "nodes compute in {}"),
        (lambda _: (full, "Float"), "failed", "compute in float32, {} was asked for"),
        (lambda _: ("N/A due to dynamic shapes", ""), "not checked", "does not tell the types"),
    ]
    for types, status, why in cases:
        for precision in low:
            layers = [conv_layer(bundle, precision, *types(precision))]
            monkeypatch.setattr(sys.modules[__name__], "LAYERS", layers)
            compiling.compile_bundle(bundle, precision=precision)
        found = {stage.label: stage for stage in validate_bundle(bundle).stages}
        for precision in low:
            stage = found[f"tensorrt {precision}, layers"]
            assert (stage.status, why.format(words[precision]) in stage.why) == (status, True), stage.why


@pytest.mark.usefixtures("builder")
def test_a_float32_plan_computes_in_no_less(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_stages, "IsolatedPlan", Stand)
    layer = {"Name": "node_conv", "LayerType": "CaskConvolution", "Inputs": [], "TacticName": "sm80_f32f32_f32"}
    found = {}
    for name, changes in {
        "float32": {},
        "tf32": {"TacticName": "sm80_xmma_fprop_implicit_gemm_tf32f32_f32"},
        "half": {"Weights": {"Type": "Half", "Count": 9}},
    }.items():
        monkeypatch.setattr(sys.modules[__name__], "LAYERS", [layer | changes])
        compiling.compile_bundle(bundle)
        found[name] = next(stage for stage in validate_bundle(bundle).stages if stage.label.endswith("fp32, layers"))
    assert [stage.status for stage in found.values()] == ["passed", "failed", "failed"]
    assert "node_conv" in found["half"].why


@pytest.mark.usefixtures("builder")
def test_layers_that_are_not_there_or_changed_are_not_checked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_stages, "IsolatedPlan", Stand)
    _, plan = compiling.compile_bundle(bundle)
    (bundle / layers_name(plan.file)).write_text("{}")
    assert check_layers(open_bundle(bundle), plan).status == "not checked"
    (bundle / layers_name(plan.file)).unlink()
    assert check_layers(open_bundle(bundle), plan).status == "not checked"


OPEN = {"Name": "node_conv", "LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "N/A"}]}
TOLD = json.dumps({"Layers": [OPEN | {"Inputs": [{"Format/Datatype": "Row major linear FP32"}]}]})


def layers_stage(bundle: Path) -> StageResult:
    return next(stage for stage in validate_bundle(bundle).stages if stage.label.endswith("fp32, layers"))


@pytest.mark.usefixtures("builder")
def test_what_a_plan_tells_after_it_ran_is_judged_and_kept(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LAYERS", [OPEN])
    monkeypatch.setattr(plan_stages, "IsolatedPlan", Stand)
    _, plan = compiling.compile_bundle(bundle)
    file = bundle / layers_name(plan.file)
    built = file.read_text()
    assert (layers_stage(bundle).status, file.read_text()) == ("not checked", built)
    monkeypatch.setattr(plan_stages, "IsolatedPlan", type("Tells", (Stand,), {"told": TOLD}))
    assert (layers_stage(bundle).status, file.read_text()) == ("passed", TOLD)
    assert all(finding.ok for finding in verify(bundle))
    # what tells less does not replace it
    monkeypatch.setattr(plan_stages, "IsolatedPlan", type("Forgets", (Stand,), {"told": built}))
    assert (layers_stage(bundle).status, file.read_text()) == ("passed", TOLD)
    # what somebody else put there stays, and verify names it
    file.write_text(built)
    assert not is_fuller(open_bundle(bundle), plan, TOLD)


@pytest.mark.usefixtures("builder")
def test_an_inspector_that_breaks_takes_nothing_along(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: Stand) -> str:
        raise Interrupted("TensorRT's process was killed while inspecting the plan")

    monkeypatch.setattr(plan_stages, "IsolatedPlan", type("Breaks", (Stand,), {"layers": breaks}))
    compiling.compile_bundle(bundle)
    assert [stage.status for stage in stages(bundle)] == ["passed", "passed"]
    assert layers_stage(bundle).status == "not checked"


@pytest.mark.tensorrt
def test_compile_for_named_gpus_needs_none(bundle: Path) -> None:
    result = run("compile", bundle, "--for", "sm86,sm120")
    assert result.exit_code == 0, result.output
    (entry,) = (plan for plan in open_bundle(bundle).manifest["plans"] if plan["capabilities"] == ["8.6", "12.0"])
    assert f"{entry['file']}\n" in result.output
    assert "TensorRT for RTX 1." in result.output
    assert "loaded by TensorRT for RTX of the same version alone: neither trtexec nor Triton" in result.output
    assert all(finding.ok for finding in verify(bundle))
    judged = next(stage for stage in validate_bundle(bundle).stages if stage.label == "tensorrt-rtx fp32")
    assert judged.status == "not checked"
    assert "not run: " in judged.why


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--for", "sm90"), "expected some of sm75, sm80, sm86, sm89, sm120, sm121"),
        (("--for", "none"), "so that nothing is built"),
        (("--for", "sm86", "--version-compatible"), "received --version-compatible, which TensorRT for RTX"),
    ],
)
def test_targets_that_cannot_be_built_for_are_exit_code_2(bundle: Path, arguments: tuple[str, ...], words: str) -> None:
    before = sorted(bundle.rglob("*"))
    result = run("compile", bundle, *arguments)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert sorted(bundle.rglob("*")) == before


def test_without_tensorrt_for_rtx_the_targets_need_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Component("TensorRT for RTX", "missing", "", "it builds plans without a GPU", "pip install tensorrt-rtx")
    monkeypatch.setattr(compiling, "probe_rtx", lambda: missing)
    result = run("compile", bundle, "--for", "sm86")
    assert result.exit_code == 3
    assert "TensorRT for RTX is missing (it builds plans without a GPU); pip install tensorrt-rtx" in result.stderr


@pytest.mark.tensorrt
@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("capability", "built"), [("8.9", True), ("9.0", False)])
def test_a_gpu_gets_a_plan_of_tensorrt_for_rtx_if_tensorrt_is_not_installed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capability: str, built: bool
) -> None:
    monkeypatch.setattr(compiling, "ask_driver", lambda: Driver("", (f"Some GPU (compute capability {capability})",)))
    if built:
        assert compiling.compile_bundle(bundle)[1].capabilities == (capability,)
    else:
        with pytest.raises(MissingRequirement, match="TensorRT is missing"):
            compiling.compile_bundle(bundle)


def test_a_bundle_of_a_file_in_half_precision_has_no_float32_graph() -> None:
    half = Bundle(Path("half"), {"precision": "fp16"})  # type: ignore[typeddict-item]
    with pytest.raises(InputError, match=r"the bundle holds: fp16; give --precision fp16"):
        compiling.require_graph(half, "fp32")


def test_a_tuned_graph_is_compiled_only_if_there_is_one(bundle: Path, builder: list[BuildOrder]) -> None:
    with pytest.raises(InputError, match="no graph of it that was tuned for TensorRT; attn2trt tune"):
        compiling.compile_bundle(bundle, tuned=True)
    opened = open_bundle(bundle)
    shutil.copyfile(bundle / "model.onnx", bundle / "model.fp32.tensorrt.onnx")
    entry: dict[str, Any] = {
        "flavour": "tensorrt",
        "precision": "fp32",
        "file": "model.fp32.tensorrt.onnx",
        "modules": {"node": "fc"},
    }
    entry["graph"] = opened.manifest["files"]["model.onnx"]["sha256"]
    extend(opened, {"model.fp32.tensorrt.onnx": "tuned"}, {"tuned_graphs": [entry]})
    found, plan = compiling.compile_bundle(bundle, tuned=True)
    assert (plan.file, plan.tuned) == ("plans/sm90-trt8.6.0-fp32-tuned.plan", True)
    assert (builder[-1].graph.name, dict(builder[-1].modules)) == ("model.fp32.tensorrt.onnx", {"node": "fc"})
    beside, plain = compiling.compile_bundle(found)
    assert [one["file"] for one in beside.manifest["plans"]] == [plan.file, plain.file]
    assert all(finding.ok for finding in verify(bundle))
