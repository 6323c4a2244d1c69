"""A plan of somebody else is held against the float64 of its model; a stand-in runs it in ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_files import convolution, saved
from foreign_files import plan as plan_bytes

from attn2trt import Bundle, InputError, MissingRequirement, deploy
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.ort_runtime import CPU
from attn2trt.engines.runtime import Arrays
from attn2trt.engines.tensorrt.plan_header import PlanHeader
from attn2trt.engines.tensorrt.plugin.build import ABOUT, LIBRARY
from attn2trt.engines.tensorrt.plugin.library import PluginLibrary, read_plugin
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.errors import CheckFailed
from attn2trt.validate.verdict import StageResult
from attn2trt.workflows import check_plan as checking
from attn2trt.workflows.check_plan import CheckedPlan, check_plan


def document(*types: str) -> str:
    """What an inspector says of a convolution and of the product, which read tensors of these types."""
    kinds = zip(("Convolution", "PointWise"), ("Conv_0", "PWN(gate, product)"), types, strict=True)
    layers = [
        {"Name": name, "LayerType": kind, "Inputs": [{"Name": "t", "Format/Datatype": f"Row major linear {word}"}]}
        for kind, name, word in kinds
    ]
    return json.dumps({"Layers": layers})


NAMES_ALONE = json.dumps({"Layers": ["Conv_0", "gate"]})


class StandIn:
    """In the place of ``ForeignPlan``: the model in ONNX Runtime, its outputs rounded to ``dtype`` and scaled."""

    model: Path
    dtype = "float32"
    factor = 1.0
    said = document("FP32", "FP32")
    ranges: Sequence[Mapping[str, Axis]] = ({"batch": Axis(1, 2, 8)},)
    sha256 = "0" * 64
    refusal = ""
    plugin: PluginLibrary | None = None

    def __init__(
        self, path: Path, header: PlanHeader, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], **given: Any
    ) -> None:
        import onnxruntime

        type(self).plugin = given["plugin"]
        self._session = onnxruntime.InferenceSession(str(self.model), providers=[CPU])
        self.types = {spec.name: spec.dtype for spec in (*inputs, *outputs)}
        self.profiles = [Profile(dict(axes)) for axes in self.ranges]

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def load(self) -> None:
        if self.refusal:
            raise CheckFailed(self.refusal)

    def run(self, feeds: Arrays) -> Arrays:
        (value,) = self._session.run(None, feeds)
        with np.errstate(over="ignore"):
            return {"y": (value * np.float32(self.factor)).astype(self.dtype).astype(np.float32)}

    def layers(self) -> str:
        return self.said


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan, and the file that it was built from."""
    named = convolution()
    named.graph.node[0].name = "Conv_0"
    StandIn.model = saved(named, tmp_path / "model.onnx")
    monkeypatch.setattr(checking, "ForeignPlan", StandIn)
    monkeypatch.setattr(checking, "require_here", lambda path, header: None)
    for name in ("dtype", "factor", "said", "ranges", "refusal"):
        monkeypatch.setattr(StandIn, name, getattr(StandIn, name))  # as it was, afterwards
    (tmp_path / "model.plan").write_bytes(plan_bytes())
    return tmp_path / "model.plan"


def check(plan: Path, **options: Any) -> CheckedPlan:
    return check_plan(plan, options.pop("model", StandIn.model), trust=True, **options)


def stages(checked: CheckedPlan) -> dict[str, StageResult]:
    return {stage.label: stage for stage in checked.verdict.stages}


def test_a_right_plan_passes_by_the_float64_of_its_file(plan: Path) -> None:
    checked = check(plan)
    found = stages(checked)
    assert checked.passed
    assert list(found) == ["tensorrt fp32", "tensorrt fp32, rows", "tensorrt fp32, layers"]
    assert found["tensorrt fp32"].status == found["tensorrt fp32, rows"].status == "passed"
    assert found["tensorrt fp32, layers"].status == "not checked"
    assert "by the inspector 2 in float32" in found["tensorrt fp32, layers"].why
    assert checked.verdict.source == "the graph"
    assert checked.to_json()["layers"] == {"fp32": 2}


def test_a_plan_that_computes_something_else_fails(plan: Path) -> None:
    StandIn.factor = 1.001
    checked = check(plan)
    assert stages(checked)["tensorrt fp32"].status == "failed"
    assert not checked.passed


def test_the_precision_is_the_one_that_the_layers_tell_or_the_one_that_was_asked_for(plan: Path) -> None:
    StandIn.dtype, StandIn.said = "float16", NAMES_ALONE
    untold = check(plan)
    assert untold.precision == "fp32"
    assert stages(untold)["tensorrt fp32"].status == "failed", "float16 is not float32"
    assert "neither --precision nor the inspector tells" in untold.notes[0]
    assert "names of layers alone; a plan that is built with detailed" in stages(untold)["tensorrt fp32, layers"].why
    StandIn.said = document("FP16", "FP32")
    told = check(plan)
    assert told.precision == "fp16"
    assert stages(told)["tensorrt fp16"].status == "passed", stages(told)
    assert "1 in float16, 1 in float32" in stages(told)["tensorrt fp16, layers"].why


@pytest.mark.slow
def test_layers_in_another_precision_than_asked_for_fail(plan: Path) -> None:
    StandIn.said = document("FP16", "FP32")
    found = stages(check(plan, precision="fp16"))["tensorrt fp16, layers"]
    assert found.status == "failed"
    assert "1 layers compute in float32, float16 was asked for: PWN(gate, product)" in found.why
    StandIn.said = document("FP16", "FP16")
    assert stages(check(plan, precision="fp16"))["tensorrt fp16, layers"].status == "passed"


@pytest.mark.slow
def test_only_cases_inside_of_its_profiles_are_compared(plan: Path) -> None:
    StandIn.ranges = ({"batch": Axis(2, 2, 2)},)
    some = check(plan)
    assert some.passed
    assert some.notes[0].startswith("not compared, outside of the plan's profiles: ")
    StandIn.ranges = ({"batch": Axis(64, 64, 64)},)
    none = check(plan)
    assert not none.passed
    assert "no case lies inside of the plan's profiles" in stages(none)["tensorrt fp32"].why


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return deploy(str(saved(convolution(), folder / "model.onnx")), out=folder / "bundle", capabilities="none")


@pytest.mark.slow
def test_beside_a_bundle_its_recorded_cases_are_taken(plan: Path, bundle: Bundle) -> None:
    assert check(plan, model=bundle.path).passed
    StandIn.said = document("FP16", "FP16")
    lower = check(plan, model=bundle.path)
    assert "what the graph loses in float16 was not measured" in stages(lower)["tensorrt fp16"].why
    assert not lower.passed
    with pytest.raises(InputError, match=r"with the bundle .*, which has its cases already"):
        check(plan, model=bundle.path, dynamic="batch=1:2:3")


def test_what_tensorrt_refuses_is_one_line(plan: Path) -> None:
    StandIn.refusal = "TensorRT 10.3.0 cannot load the plan: version tag does not match"
    with pytest.raises(CheckFailed, match=r"model\.plan, a plan of TensorRT 8\.6\.1: TensorRT 10\.3\.0 cannot load"):
        check(plan)


def test_nothing_is_read_of_a_plan_that_is_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without --trust"):
        check_plan(tmp_path / "none.plan", tmp_path / "none.onnx", trust=False)


def test_without_a_gpu_it_is_missing_before_the_model_is_read(tmp_path: Path) -> None:
    (tmp_path / "model.plan").write_bytes(plan_bytes(b"vtrt", (1, 7, 1, 116)))
    with pytest.raises(MissingRequirement, match=r"a plan of TensorRT for RTX 1\.7\.1, which cannot run here"):
        check_plan(tmp_path / "model.plan", tmp_path / "model.plan", trust=True)


def plugin_folder(folder: Path, version: str = "8.6.1") -> Path:
    """A folder as ``attn2trt plugin`` writes it."""
    folder.mkdir()
    (folder / LIBRARY).write_bytes(b"a library")
    sha256 = hashlib.sha256(b"a library").hexdigest()
    (folder / ABOUT).write_text(json.dumps({"tensorrt": version, "files": {LIBRARY: {"sha256": sha256}}}))
    return folder


def test_the_hash_of_a_plugin_is_told_with_the_verdict(plan: Path, tmp_path: Path) -> None:
    folder = plugin_folder(tmp_path / "plugin")
    checked = check(plan, plugin=folder)
    assert checked.passed
    assert checked.to_json()["plugin"] == hashlib.sha256(b"a library").hexdigest()
    assert StandIn.plugin == read_plugin(folder)


def test_a_plugin_of_another_tensorrt_or_hash_is_refused_before_anything_is_loaded(plan: Path, tmp_path: Path) -> None:
    folder = plugin_folder(tmp_path / "plugin", "10.3.0")
    with pytest.raises(
        InputError, match=r"built for TensorRT 10\.3\.0, with a plan of TensorRT 8\.6\.1; build it with"
    ):
        check(plan, plugin=folder)
    (folder / LIBRARY).write_bytes(b"another one")
    with pytest.raises(CheckFailed, match=r"is not the file that plugin\.json lists"):
        check(plan, plugin=folder)
