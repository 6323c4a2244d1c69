"""A plan's cost on a GPU, with a stand-in for the processes that time it: clocks and layers are given."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
import served_bundle
from manifest_edits import edit
from printed_table import printed
from quick_method import QUICK

from attn2trt.core.file_hashes import sha256
from attn2trt.core.tensor_spec import TensorSpec
from attn2trt.engines.environment import Component, Driver
from attn2trt.engines.node_times import NodeTimes
from attn2trt.engines.runtime import Arrays
from attn2trt.engines.tensorrt import here
from attn2trt.engines.timing import timed_run
from attn2trt.engines.timing.method import Limits
from attn2trt.engines.timing.runners import CopyRunner, PlanRunner, Runner
from attn2trt.errors import CheckFailed, InputError, MissingRequirement
from attn2trt.report.device_cost_table import device_cost_table
from attn2trt.workflows.cost_plan import cost_plan

FP16, WHOLE_MS, PLAIN_MS, LAYER_US, COPY_NS, LAUNCH_NS = "fp16", 0.08, 0.05, 30.0, 4_000_000, 2_000
MAP = 2 * 3 * 4 * 4  # numbers at batch 2
PLAN = "plans/sm90-trt8.6.0-fp16.plan"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A network of one multiplication, which is its block, with a plan for this machine's GPU."""
    return write(tmp_path / "model", "resnet18+se")


def write(path: Path, target: str, **changes: Any) -> Path:
    entry = {**served_bundle.plan("9.0", FP16, tensorrt="8.6.0"), **changes}
    classes = [{"name": "SE", "source": "attn2trt/modules/blocks/se.py:3", "modules": ["layer2.0.se"]}]
    precisions = ("fp32", FP16, *([entry["precision"]] if entry["precision"] != FP16 else []))
    served_bundle.write(path, name=target, precisions=precisions, plans=[entry], classes=classes)
    edit(path, lambda manifest: manifest["precisions"][FP16].update(modules={"mul": "layer2.0.se"}))
    return path


def inspected() -> str:
    """Return what an inspector could say: a layer of the block, another's, and one that does nothing."""
    tensor = {"Dimensions": [2, 3, 4, 4], "Format/Datatype": "Row major linear FP16 format"}
    layers = [
        {"Name": name, "LayerType": "Kernel", "Inputs": [{"Name": f"{name} in", **tensor}], "Outputs": []}
        for name in ("mul", "another")
    ]
    return json.dumps({"Layers": [*layers, {"Name": "reshape", "LayerType": "NoOp"}]})


class Process:
    """A timed process on a GPU that is none: it multiplies, and its clocks are constants."""

    opened: ClassVar[list[Runner]] = []
    factor: ClassVar[float] = 2.0

    def __init__(self, runner: Runner, *, threads: int) -> None:
        self.runner = runner
        self.device_times: list[int] = []
        self.opened.append(runner)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @property
    def name(self) -> str:
        return "NVIDIA H200"

    def run(self, feeds: Arrays) -> Arrays:
        assert isinstance(self.runner, PlanRunner)
        about = json.loads(self.runner.about)
        assert hashlib.sha256(self.runner.plan.read_bytes()).hexdigest() == about["sha256"]
        return {"y": feeds["x"] * self.factor}

    def prepare(self, specs: Sequence[TensorSpec], sizes: Mapping[str, int], *, sets: int) -> None:
        assert sets >= 1

    def warm_up(self, seconds: float) -> None:
        return None

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        assert isinstance(self.runner, PlanRunner)
        assert self.runner.profiled
        return [9_000_000]

    def device_turn(self, limits: Limits, *, hot: bool) -> list[int]:
        if isinstance(self.runner, CopyRunner):
            return [LAUNCH_NS if self.runner.graphed else COPY_NS]
        assert isinstance(self.runner, PlanRunner)
        assert self.runner.graphed
        return [int(1e6 * (PLAIN_MS if "plain" in str(self.runner.plan) else WHOLE_MS))] * 3

    def node_times(self) -> NodeTimes:
        return NodeTimes(("mul", "another", "unlisted"), ("",) * 3, np.full((5, 3), LAYER_US, np.float32))

    def layers(self) -> str:
        return inspected()

    def cpu_seconds(self) -> float:
        return 0.0


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[Runner]:
    """A GPU and TensorRT 8.6.0, as far as the run asks them; returns what was opened."""
    monkeypatch.setattr(here, "probe_tensorrt", lambda: Component("TensorRT", "usable", "8.6.0"))
    monkeypatch.setattr(here, "ask_driver", lambda: Driver("", ("NVIDIA H200 (compute capability 9.0)",)))
    monkeypatch.setattr(timed_run, "TimedProcess", Process)
    monkeypatch.setattr(Process, "opened", [])
    return Process.opened


@pytest.mark.usefixtures("gpu")
def test_a_block_alone_stands_beside_what_its_bytes_take(tmp_path: Path) -> None:
    found = cost_plan(write(tmp_path / "se", "se"), precision=FP16, method=QUICK)
    assert (found.target, found.precision, found.built_by, found.gpu) == ("se", FP16, "TensorRT 8.6.0", "NVIDIA H200")
    assert found.inputs == {"x": (2, 3, 4, 4)}
    assert found.model.ms == pytest.approx(WHOLE_MS)
    assert found.rates.bytes_per_s == pytest.approx(2 * 8 * (1 << 29) / (COPY_NS / 1e9))
    assert found.rates.launch_ms == pytest.approx(LAUNCH_NS / 1e6)
    # the map is read and written, and the factor is read
    assert found.model.least_bytes == 2 * 4 * MAP + 4
    document = json.loads(json.dumps(found.to_json()))
    assert document["model"]["least_ms"] == pytest.approx(found.model.least_bytes / found.rates.bytes_per_s * 1e3)
    # the block is the whole
    assert found.blocks == ()
    assert found.beside is None
    assert {layer.place for layer in found.model.layers} == {"block"}
    assert "se, x 2x3x4x4, fp16, TensorRT 8.6.0 on NVIDIA H200" in printed(device_cost_table(found), 250)


@pytest.mark.usefixtures("gpu")
def test_every_layer_has_its_time_its_bytes_and_its_modules(bundle: Path) -> None:
    found = cost_plan(bundle, precision=FP16, method=QUICK).model
    mul, another, nothing, unlisted = found.layers
    assert (mul.modules, mul.place, mul.block) == (("layer2.0.se",), "block", "layer2.0.se")
    assert (mul.ms, mul.bytes, mul.is_assumed, mul.precision) == (LAYER_US / 1e3, 2 * MAP, False, FP16)
    assert (another.modules, another.place) == ((), "rest")
    assert (nothing.kind, nothing.ms, nothing.bytes) == ("NoOp", None, 0)
    assert (unlisted.name, unlisted.kind, unlisted.bytes, unlisted.modules) == ("unlisted", "", None, ())
    assert found.layers_ms == pytest.approx(3 * LAYER_US / 1e3)
    assert found.calls == 5


@pytest.mark.usefixtures("gpu")
def test_a_network_is_timed_beside_its_plain_backbone(bundle: Path, tmp_path: Path) -> None:
    found = cost_plan(bundle, backbone=write(tmp_path / "plain", "resnet18"), precision=FP16, method=QUICK)
    assert found.beside is not None
    assert found.beside.plain.name == "resnet18"
    assert found.beside.difference.ms == pytest.approx(WHOLE_MS - PLAIN_MS)
    (block,) = found.blocks
    assert (block.path, block.kind, block.least_bytes) == ("layer2.0.se", "se", 2 * 4 * MAP + 4)
    assert block.ms == pytest.approx(LAYER_US / 1e3)
    assert found.blocks_least_ms == pytest.approx(block.least_bytes / found.rates.bytes_per_s * 1e3)
    (stage, unknown) = found.beside.profile.stages
    assert (stage.stage, stage.block_ms) == ("layer2", pytest.approx(block.ms))
    assert unknown.plain_ms == pytest.approx(2 * LAYER_US / 1e3)
    assert found.beside.profile.total.difference_ms == pytest.approx(0)
    assert "0.0300 ms of resnet18+se are in layers that the inspector does not list" in " ".join(found.warnings())
    text = printed(device_cost_table(found), 250)
    assert f"The block costs {WHOLE_MS - PLAIN_MS:+.4f} ms, +60.0% of the plain backbone" in text
    assert "layer2.0.se (se)" in text


def test_whole_plans_are_graphs_and_profiled_ones_are_not(bundle: Path, gpu: list[Runner]) -> None:
    cost_plan(bundle, precision=FP16, method=QUICK)
    plans = [runner for runner in gpu if isinstance(runner, PlanRunner)]
    assert [(runner.graphed, runner.profiled) for runner in plans] == [(True, False), (False, True)]
    assert not any(runner.plan.is_relative_to(bundle) for runner in plans)
    copies = [runner for runner in gpu if isinstance(runner, CopyRunner)]
    assert [runner.graphed for runner in copies] == [False, True]


@pytest.mark.usefixtures("gpu")
def test_a_tuned_plan_is_that_of_its_own_graph(bundle: Path, tmp_path: Path) -> None:
    """The plain backbone has none: its plan is that of its precision's graph."""
    made = onnx.load(bundle / "model.fp16.onnx")
    made.graph.node[0].name = "mul_tuned"
    onnx.save(made, bundle / "model.fp16.tensorrt.onnx")
    digest = sha256(bundle / "model.fp16.tensorrt.onnx")
    entry = {"flavour": "tensorrt", "precision": FP16, "file": "model.fp16.tensorrt.onnx", "graph": digest}
    (bundle / "plans/tuned.plan").write_text("plain and simple")

    def change(manifest: dict[str, Any]) -> None:
        manifest["tuned_graphs"] = [{**entry, "modules": {"mul_tuned": "layer2.0"}}]
        manifest["files"][entry["file"]] = {"sha256": digest}
        manifest["files"]["plans/tuned.plan"] = {"sha256": sha256(bundle / "plans/tuned.plan")}
        manifest["plans"].append({**manifest["plans"][0], "file": "plans/tuned.plan", "tuned": True, "graph": digest})

    edit(bundle, change)
    assert cost_plan(bundle, precision=FP16, method=QUICK).model.plan == PLAN
    plain = write(tmp_path / "plain", "resnet18")
    found = cost_plan(bundle, backbone=plain, precision=FP16, tuned=True, method=QUICK)
    assert found.model.plan == "plans/tuned.plan"
    # none of its nodes is the block's
    assert [layer.place for layer in found.model.layers] == ["rest"] * 4
    assert found.beside is not None
    assert found.beside.plain.plan == PLAN


@pytest.mark.usefixtures("gpu")
def test_a_plan_runs_at_the_shape_that_is_given(bundle: Path) -> None:
    found = cost_plan(bundle, precision=FP16, shapes=["4x3x6x4"], method=QUICK)
    assert found.inputs == {"x": (4, 3, 6, 4)}
    assert found.model.least_bytes == 3 * (2 * 4 * MAP) + 4


@pytest.mark.usefixtures("gpu")
def test_a_plan_that_computes_something_else_is_not_timed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "factor", 2.2)
    with pytest.raises(CheckFailed, match=r"fp16.plan of resnet18\+se computes something else.*nothing was timed"):
        cost_plan(bundle, precision=FP16, method=QUICK)


def test_a_plan_of_another_hash_is_not_opened(bundle: Path, gpu: list[Runner]) -> None:
    (bundle / PLAN).write_bytes(b"another")
    with pytest.raises(CheckFailed, match=r"fp16.plan: changed: its sha256"):
        cost_plan(bundle, precision=FP16, method=QUICK)
    assert gpu == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"capabilities": ["8.7"]}, "here is TensorRT 8.6.0 on sm90: run `attn2trt compile`"),
        ({"tensorrt": "10.3.0"}, "was built with TensorRT 10.3.0"),
        ({"graph": "0" * 64}, "was built from another graph"),
        (
            {"precision": "int8"},
            "whose plans are: TensorRT in int8; expected one of TensorRT in fp16; run attn2trt compile",
        ),
        ({"flavour": "tensorrt-rtx", "tensorrt": "1.7.1"}, "whose plans are: TensorRT for RTX in fp16"),
        ({"tuned": True}, "whose plans are: TensorRT in fp16, tuned; expected one of TensorRT in fp16; run attn2trt"),
        ({"profiles": [{"batch": [3, 3, 3], "height": [2, 4, 6]}]}, "holds no case that was recorded"),
    ],
)
def test_a_plan_that_cannot_be_timed_is_one_line(
    tmp_path: Path, gpu: list[Runner], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        cost_plan(write(tmp_path / "bundle", "se", **changes), precision=FP16, method=QUICK)
    assert gpu == []


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "fp17"}, "received precision 'fp17'; expected one of fp32"),
        ({"precision": "bf16"}, "run attn2trt deploy with --precision fp32,bf16, then attn2trt compile"),
        ({"tuned": True}, "expected one of TensorRT in fp16, tuned; run attn2trt tune"),
        ({"flavour": "tensort"}, "received runtime 'tensort'; expected one of tensorrt"),
        ({"shapes": ["9x3x4x4"]}, "received x 9x3x4x4 for plans/sm90-trt8.6.0-fp16.plan"),
        ({"shapes": ["2x5x4x4"]}, "expected batchx3xheightx4"),
        ({"shapes": ["2x3"]}, "expected batchx3xheightx4"),
        ({"shapes": ["y=2x3x4x4"]}, "received a shape with the name 'y'"),
    ],
)
def test_wrong_arguments_are_one_line(bundle: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        cost_plan(bundle, **{"precision": FP16, "method": QUICK, **options})


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("model", "plain", "words"),
    [
        ("resnet18+se", "resnet34", "a bundle of resnet34, for resnet18+se; expected resnet18"),
        ("resnet18+se", "resnet18+eca", "expected resnet18"),
        ("se", "resnet18", "expected none, since it has no block"),
    ],
)
def test_another_models_bundle_is_no_backbone(tmp_path: Path, model: str, plain: str, words: str) -> None:
    folders = write(tmp_path / "model", model), write(tmp_path / "plain", plain)
    with pytest.raises(InputError, match=re.escape(words)):
        cost_plan(folders[0], backbone=folders[1], precision=FP16, method=QUICK)


@pytest.mark.usefixtures("gpu")
def test_a_backbone_of_other_inputs_is_refused(bundle: Path, tmp_path: Path) -> None:
    beside = write(tmp_path / "plain", "resnet18")
    edit(beside, lambda manifest: manifest["inputs"][0].update(shape=["batch", 3, "height", 5]))
    with pytest.raises(InputError, match=r"inputs x float32 batchx3xheightx5; expected those of .*batchx3xheightx4"):
        cost_plan(bundle, backbone=beside, precision=FP16, method=QUICK)
    of_halves = write(tmp_path / "halves", "resnet18")
    edit(of_halves, lambda manifest: manifest["precisions"][FP16].update(inputs_and_outputs="float16"))
    with pytest.raises(InputError, match=r"x float16 batch.*, x float32 batch.*the same --shape, --dynamic and --io"):
        cost_plan(bundle, backbone=of_halves, precision=FP16, method=QUICK)


def test_without_a_gpu_it_says_so(bundle: Path) -> None:
    if here.ask_driver().devices:
        pytest.skip("there is a GPU here")
    with pytest.raises(MissingRequirement, match=r"not installed here|no NVIDIA driver|finds no device"):
        cost_plan(bundle, precision=FP16, method=QUICK)
