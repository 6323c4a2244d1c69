"""ONNX Runtime's GPU providers in a verdict, with the CPU's in their place, since no GPU is needed to judge one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployed_once import EVERY_PRECISION, deployed_once
from manifest_edits import list_as_it_is

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.engines.environment import Driver
from attn2trt.engines.isolated import IsolatedRuntime
from attn2trt.engines.ort_runtime import CPU
from attn2trt.engines.timing.runtimes import ORT_CUDA
from attn2trt.errors import CheckFailed, MissingRequirement
from attn2trt.validate.recorded import recorded_cases
from attn2trt.validate.stages import of_bundle, ort_process
from attn2trt.validate.stages import onnxruntime as ort_stages
from attn2trt.validate.stages.stage import TUNED_GRAPH, Stage
from attn2trt.validate.verdict import StageResult
from attn2trt.workflows.validate import validate_bundle

CUDA = "onnxruntime cuda"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(deployed_once(tmp_path_factory, "cbam", EVERY_PRECISION))


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a device, on which the CPU's provider stands in for CUDA's and there is no other."""
    monkeypatch.setattr(of_bundle, "ask_driver", lambda: Driver("CUDA 13.0", ("H200 (compute capability 9.0)",)))
    monkeypatch.setattr(of_bundle, "why_no_provider", lambda name: "" if name == ORT_CUDA else "not in this build")
    monkeypatch.setattr(of_bundle, "try_provider", lambda _provider: "")
    for module in (of_bundle, ort_process):
        monkeypatch.setattr(module, "PROVIDERS", {ORT_CUDA: CPU})


def judged(bundle: Bundle) -> dict[str, StageResult]:
    def pairs() -> Iterator[Any]:
        return recorded_cases(bundle)

    return {stage.label: stage for stage in ort_stages.judge_providers(bundle, pairs)}


def test_without_a_gpu_there_is_nothing_to_judge(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_bundle, "ask_driver", lambda: Driver("", (), "no NVIDIA driver"))
    assert judged(bundle) == {}


@pytest.mark.usefixtures("a_gpu")
def test_every_graph_is_judged_by_its_own_precision(bundle: Bundle) -> None:
    found = judged(bundle)
    status = {name: stage.status for name, stage in found.items()}
    graphs = [CUDA, f"tf32 {CUDA}", f"fp16 {CUDA}", f"int8 {CUDA}"]
    assert status == {
        **dict.fromkeys([stage for name in graphs for stage in (name, f"{name}, rows")], "passed"),
        f"bf16 {CUDA}": "not checked",
        "onnxruntime tensorrt": "not checked",
    }
    assert found["onnxruntime tensorrt"].why == "not in this build"
    assert "CUDA provider has no bfloat16" in found[f"bf16 {CUDA}"].why
    assert found[f"int8 {CUDA}"].worst_error > 1e-3 > found[CUDA].worst_error
    assert {stage.label for stage in validate_bundle(bundle.path).stages} >= set(status)


@pytest.mark.usefixtures("a_gpu")
def test_a_provider_whose_libraries_do_not_load_is_not_checked(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_bundle, "try_provider", lambda _provider: "libcudnn.so.9 cannot be loaded")
    stage = judged(bundle)[CUDA]
    assert (stage.status, stage.why) == ("not checked", "libcudnn.so.9 cannot be loaded")


@pytest.mark.usefixtures("a_gpu")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MissingRequirement("asked for CUDA and received the CPU"), "asked for CUDA and received the CPU"),
        (CheckFailed("the process ended"), "the process ended"),
    ],
)
def test_a_graph_that_falls_back_or_breaks_has_failed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    class Falling(IsolatedRuntime):
        def load(self) -> dict[str, object]:
            raise error

    monkeypatch.setattr(ort_process, "IsolatedRuntime", Falling)
    found = judged(bundle)
    assert (found[CUDA].status, found[CUDA].why) == ("failed", said)
    assert f"{CUDA}, rows" not in found


@pytest.mark.usefixtures("a_gpu")
def test_float32_is_not_computed_in_tf32(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: dict[str, bool] = {}

    class Noted(IsolatedRuntime):
        def __init__(self, model: Path, *, tf32: bool, **options: Any) -> None:
            allowed[model.name + " tf32" * tf32] = tf32
            super().__init__(model, tf32=tf32, **options)

    monkeypatch.setattr(ort_process, "IsolatedRuntime", Noted)
    judged(bundle)
    assert [name for name, is_allowed in allowed.items() if is_allowed] == ["model.onnx tf32"]
    assert len(allowed) == 5


def test_a_graph_that_has_nothing_in_its_precision_fails(bundle: Bundle, tmp_path: Path) -> None:
    """One of more bits gives better numbers than were asked for."""
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    for name in ("bf16", "int8"):
        shutil.copy(copy / "model.onnx", copy / f"model.{name}.onnx")
        list_as_it_is(copy, f"model.{name}.onnx")
    found = open_bundle(copy)
    stages = {stage.label: stage for stage in ort_stages.judge_graphs(found, lambda: recorded_cases(found))}
    failed = [name for name, stage in stages.items() if stage.status == "failed"]
    assert failed == ["bf16", "bf16 onnxruntime cpu", "int8", "int8 onnxruntime cpu"]
    assert "model.int8.onnx has nothing in int8: it is another graph" in stages["int8"].why
    tuned = Stage(TUNED_GRAPH["tensorrt"], "int8")
    (judged_alone,) = ort_stages.judge_graph_for_plan(found, found.model_path, tuned, lambda: recorded_cases(found))
    assert "model.onnx has nothing in int8" in judged_alone.why
