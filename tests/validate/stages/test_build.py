"""Every graph of a bundle is built by TensorRT for RTX, and what is not built says why."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from cli_run import run
from onnx import helper
from small_graph import small_model
from torch import nn

import attn2trt
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.environment import Component
from attn2trt.validate.stages import build
from attn2trt.validate.stages.build import BuildStages
from attn2trt.validate.verdict import Verdict

pytestmark = pytest.mark.tensorrt

TARGETS = ("7.5", "8.6", "12.0")


@dataclass(frozen=True)
class Graph:
    path: Path
    modules: dict[str, str] = field(default_factory=dict)
    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", ("batch", 3, 8, 8)),)
    axes: dict[str, Axis] = field(default_factory=lambda: {"batch": Axis(1, 2, 4)})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x)


def graph(path: Path, operator: str = "Relu", module: str = "act") -> Graph:
    sizes = ["batch", 3, 8, 8]
    node = helper.make_node(operator, ["x"], ["y"], name="node")
    onnx.save(small_model([node], {"x": sizes}, {"y": sizes[:2] if operator == "Det" else sizes}), str(path))
    return Graph(path, {"node": module})


def test_each_precision_is_a_stage_for_the_gpus_that_compute_in_it(tmp_path: Path) -> None:
    one = graph(tmp_path / "model.onnx")
    with BuildStages(tmp_path, TARGETS) as builds:
        builds.open(Net(), {"fp32": one, "tf32": one, "fp8": one})
        float32, tf32, fp8 = builds.results()
    assert (float32.label, float32.status, float32.comparisons) == ("tensorrt-rtx fp32", "built", ())
    assert float32.why.startswith("parsed and built by TensorRT for RTX 1.")
    assert float32.why.endswith("for sm75, sm86, sm120; not run here")
    assert tf32.why.endswith("for sm86, sm120; not run here; not for sm75: no tf32 there")
    assert fp8.why.endswith("for sm120; not run here; not for sm75, sm86: no fp8 there")
    assert set(builds.files) == {plan.file for plan in builds.plans}
    assert all((tmp_path / file).is_file() for file in builds.files)


def test_a_precision_that_no_named_gpu_computes_is_not_checked(tmp_path: Path) -> None:
    with BuildStages(tmp_path, ("8.6",)) as builds:
        builds.open(Net(), {"fp8": graph(tmp_path / "model.onnx")})
        (stage,) = builds.results()
    assert (stage.status, stage.why) == ("not checked", "sm86 computes no fp8; name another GPU with --for")


@pytest.mark.parametrize(
    ("module", "where"), [("act", r"module act \(ReLU at .*activation\.py:\d+\)"), ("", r"the model itself \(Net at ")]
)
def test_a_refusal_has_failed_and_names_the_module_and_its_line(tmp_path: Path, module: str, where: str) -> None:
    with BuildStages(tmp_path, TARGETS) as builds:
        builds.open(Net(), {"fp32": graph(tmp_path / "model.onnx", "Det", module)})
        (stage,) = builds.results()
    assert stage.status == "failed"
    assert re.search(rf"cannot read node node \(Det\) of {where}", stage.why), stage.why
    assert stage.why.endswith("; --for none if only ONNX Runtime is wanted")
    assert builds.plans == []
    assert (tmp_path / "plans/rtx-fp32.log").is_file()


def test_another_candidate_gives_up_the_plans_of_the_last_but_for_float32(tmp_path: Path) -> None:
    one = graph(tmp_path / "model.onnx")
    with BuildStages(tmp_path, ("8.6",)) as builds:
        builds.open(Net(), {"fp32": one, "tf32": one})
        builds.results()
        (_, old) = builds.plans
        builds.open(Net(), {"fp32": one})
        assert [stage.label for stage in builds.results()] == ["tensorrt-rtx fp32"]
    assert not (tmp_path / old.file).exists()


def test_leaving_ends_what_is_being_built(tmp_path: Path) -> None:
    one = graph(tmp_path / "model.onnx")
    with BuildStages(tmp_path, TARGETS) as builds:
        builds.open(Net(), {"fp32": one, "tf32": one})
    assert list((tmp_path / "plans").iterdir()) == []


MISSING = Component("TensorRT for RTX", "missing", "", "it has no wheel for linux on aarch64", "build on x86-64")


@pytest.mark.parametrize(
    ("targets", "found", "why"),
    [
        ((), None, "left out by --for none"),
        (TARGETS, MISSING, "TensorRT for RTX is missing here (it has no wheel for linux on aarch64); build on x86-64"),
    ],
)
def test_what_is_left_out_or_missing_is_one_stage_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: tuple[str, ...], found: Component | None, why: str
) -> None:
    if found is not None:
        monkeypatch.setattr(build, "probe_rtx", lambda: found)
    with BuildStages(tmp_path, targets) as builds:
        builds.open(Net(), {"fp32": graph(tmp_path / "model.onnx")})
        (stage,) = builds.results()
    assert (stage.label, stage.status, stage.why) == ("tensorrt-rtx", "not checked", why)


class Determinant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.det(x)


def deploy(out: Path, **more: Any) -> attn2trt.Bundle:
    return attn2trt.deploy(Determinant(), torch.randn(2, 3, 4, 4), out=out, **more)


def test_deploy_fails_on_what_tensorrt_lacks_and_none_leaves_it_out(tmp_path: Path) -> None:
    refused = Verdict.from_json(deploy(tmp_path / "det").manifest["verdict"])
    assert refused.first_failure is not None
    assert refused.first_failure.label == "tensorrt-rtx fp32"
    assert "of the model itself (Determinant at " in refused.first_failure.why
    assert "test_build.py" in refused.first_failure.why
    again = deploy(tmp_path / "det", capabilities="none")
    assert not again.reused
    assert Verdict.from_json(again.manifest["verdict"])
    assert again.manifest["plans"] == []


@pytest.mark.parametrize(("text", "words"), [("sm90", "expected some of sm75"), ("gpu", "correct 'gpu'")])
def test_a_wrong_target_is_exit_code_2_before_any_work(tmp_path: Path, text: str, words: str) -> None:
    result = run("deploy", "se", "--for", text, "-o", tmp_path / "out")
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert list(tmp_path.iterdir()) == []
