"""A bundle whose tuned plans TensorRT for RTX has built, and each command that meets them on a machine without a GPU.

The GPU's timings and its answers are stand-ins: what was timed and judged here is the graph of each plan.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_run import run
from quantised_nets import SHAPE, Gated

import attn2trt
from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.file_hashes import verify
from attn2trt.engines.environment import Driver
from attn2trt.engines.isolated import IsolatedRuntime
from attn2trt.engines.ort_runtime import CPU
from attn2trt.engines.tensorrt import here
from attn2trt.engines.tensorrt.plans import Plan, graph_of, is_measured, plans_of
from attn2trt.engines.timing import timed_run
from attn2trt.engines.timing.rounds import Samples
from attn2trt.engines.timing.runners import OrtRunner
from attn2trt.validate.stages import tensorrt as plan_stages
from attn2trt.workflows import plan_cache, plan_search, tune_plans
from attn2trt.workflows.timed_comparison import AS_IT_IS
from attn2trt.workflows.tune_plans import TuneRequest

pytestmark = [pytest.mark.slow, pytest.mark.tensorrt]
RTX = "tensorrt-rtx"
DRIVER = Driver("CUDA 13.0", ("NVIDIA RTX A6000 (compute capability 8.6)",))
CHOICES = 2


class FewGraphs(tune_plans.BundleGraphs):
    """The first of the real candidates alone."""

    @property
    def choices(self) -> Sequence[Any]:
        return super().choices[:CHOICES]

    @property
    def pairs(self) -> Sequence[Any]:
        return ()


class AsGraph(IsolatedRuntime):
    """The graph of a plan in ONNX Runtime."""

    def __init__(self, bundle: Bundle, plan: Plan) -> None:
        super().__init__(bundle.path / str(graph_of(bundle, plan)))

    def layers(self) -> str:
        return ""

    def kernel_cache(self) -> bytes:
        return b""


def interleave(running: Mapping[str, Any], method: Any, cores: object) -> tuple[dict[str, Samples], dict[str, str]]:
    """Whatever was rewritten takes half as long."""
    lengths = {name: 1_000_000 if name == AS_IT_IS else 500_000 for name in running}
    rounds = {name: [[length + turn] for turn in range(method.rounds)] for name, length in lengths.items()}
    return {name: Samples(values) for name, values in rounds.items()}, {}


def runner(plan: Path, _: str, *, graphed: bool, io: str) -> OrtRunner:
    assert graphed
    (graph,) = plan.parent.parent.glob("*.onnx")
    return OrtRunner(graph, CPU)


@contextlib.contextmanager
def gpu_at_hand(cache: Path) -> Iterator[None]:
    """Have a GPU and a driver; plans are run as their graphs."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (tune_plans, plan_cache, here):
            patch.setattr(module, "ask_driver", lambda: DRIVER)
        patch.setattr(tune_plans, "BundleGraphs", FewGraphs)
        patch.setattr(plan_search, "PlanRunner", runner)
        patch.setattr(timed_run, "interleave", interleave)
        patch.setattr(plan_stages, "IsolatedPlan", AsGraph)
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was tuned twice in float16, once in float32 and int8-fp16, and compiled in all three."""
    folder = tmp_path_factory.mktemp("tuned")
    options = {"dynamic": "batch=1:2:4", "precision": "fp32,fp16,int8-fp16", "capabilities": "sm86"}
    bundle = attn2trt.deploy("cbam", out=folder / "se", shapes=["2x16x8x8"], **options).path
    with gpu_at_hand(folder / "cache"):
        for precision in ("fp16", "fp32", "int8-fp16", "fp16"):
            found = tune_plans.tune_plans(bundle, TuneRequest(runtime=RTX, precision=precision))
            assert found.verdict is not None
            assert found.tuning.chosen
    assert not [*(folder / "cache").rglob("*.plan")]
    return bundle


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "se"))


def tuned(bundle: Path) -> list[str]:
    return [plan.file for plan in plans_of(open_bundle(bundle)) if plan.tuned]


def test_every_plan_is_a_real_one_and_listed(bundle: Path) -> None:
    opened = open_bundle(bundle)
    plans = plans_of(opened)
    assert sorted((plan.precision, plan.tuned) for plan in plans) == [
        (precision, is_tuned) for precision in ("fp16", "fp32", "int8-fp16") for is_tuned in (False, True)
    ]
    assert all(is_measured(opened, plan) for plan in plans if plan.tuned)
    assert all((bundle / plan.file).stat().st_size > 1000 for plan in plans)
    assert all(finding.ok for finding in verify(bundle))
    on_disk = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*.plan")}
    assert on_disk == {plan.file for plan in plans}


def test_validate_judges_the_graphs_and_calls_no_plan_a_pass(bundle: Path) -> None:
    said = run("validate", str(bundle), "--json")
    assert said.exit_code == 0, said.output
    stages = {stage["stage"]: stage for stage in json.loads(said.stdout)["verdict"]["stages"]}
    for precision in ("fp16", "fp32", "int8-fp16"):
        assert stages[f"{precision} tuned for {RTX}"]["status"] == "passed"
        assert stages[f"{RTX} {precision}, tuned"]["status"] == "not checked"
        assert "driver" in stages[f"{RTX} {precision}, tuned"]["why"]


def test_verify_loads_what_can_be_loaded_and_names_a_plan_that_changed(bundle: Path) -> None:
    assert run("verify", str(bundle)).exit_code == 0
    (file, *_) = tuned(bundle)
    with (bundle / file).open("ab") as stream:
        stream.write(b"x")
    said = run("verify", str(bundle))
    assert (said.exit_code, file in said.output) == (1, True)
    said = run("validate", str(bundle))
    assert (said.exit_code, file in said.stderr) == (1, True)


def test_the_page_says_what_they_are_worth_and_that_none_was_inspected(bundle: Path) -> None:
    assert run("report", str(bundle)).exit_code == 0
    page = (bundle / "report.html").read_text(encoding="utf-8")
    assert "Graphs that attn2trt tune wrote" in page
    for file in tuned(bundle):
        assert page.count(file) >= 3
    assert page.count("2.00</td>") >= 2


def test_triton_leaves_them_out_and_says_so(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc")
    said = run("triton", str(bundle), "-o", str(tmp_path / "models"))
    assert said.exit_code == 0, said.output
    for file in tuned(bundle):
        line = next(line for line in " ".join(said.output.split()).split("plans/") if line.startswith(file[6:]))
        assert "loaded by TensorRT for RTX" in line


def test_cost_and_benchmark_need_the_gpu_that_is_not_here(bundle: Path) -> None:
    said = run("cost", str(bundle), "--runtime", RTX, "--precision", "fp16", "--tuned")
    assert (said.exit_code, len(said.stderr.strip().splitlines())) == (3, 1)
    said = run("benchmark", str(bundle), "--runtime", f"{RTX}-fp16-tuned", "--json", "--seconds", "0.01")
    assert "driver" in said.output
    assert said.exit_code != 0


def test_programs_run_the_tuned_plans_too(bundle: Path, tmp_path: Path) -> None:
    said = run("programs", str(bundle), "-o", str(tmp_path / "cpp"), "--json")
    runs = json.loads(said.stdout)["run"]
    for file in tuned(bundle):
        assert sum(line.endswith(file) for line in runs) == 1


def test_compiled_again_the_tuned_plans_stay_and_one_of_other_ranges_is_not_judged(bundle: Path) -> None:
    before = tuned(bundle)
    assert run("compile", str(bundle), "--for", "sm86", "--precision", "fp16").exit_code == 0
    assert tuned(bundle) == before
    said = run("compile", str(bundle), "--for", "sm86", "--precision", "fp16", "--tuned", "--profile", "batch=1")
    assert said.exit_code == 0, said.output
    opened = open_bundle(bundle)
    measured = {plan.precision: is_measured(opened, plan) for plan in plans_of(opened) if plan.tuned}
    assert measured == {"fp16": False, "fp32": True, "int8-fp16": True}
    assert "not the plan that was timed and judged" in (bundle / "report.html").read_text(encoding="utf-8")
    assert all(finding.ok for finding in verify(bundle))


def test_a_network_with_levels_of_its_own_keeps_them_and_is_judged_on_them(tmp_path: Path) -> None:
    request = attn2trt.PrecisionRequest(precisions="int8,int8-fp16")
    options = {"dynamic": "batch=1:2:4", "precision": request, "capabilities": "sm86"}
    bundle = attn2trt.deploy(Gated(), torch.randn(SHAPE), out=tmp_path / "net", **options).path
    with gpu_at_hand(tmp_path / "cache"):
        for precision in (None, "int8-fp16"):
            found = tune_plans.tune_plans(bundle, TuneRequest(runtime=RTX, precision=precision))
            assert found.verdict
            assert found.tuning.precision == (precision or "int8")
    said = run("validate", str(bundle), "--json")
    assert said.exit_code == 0, said.output
    stages = {stage["stage"]: stage for stage in json.loads(said.stdout)["verdict"]["stages"]}
    for precision in ("int8", "int8-fp16"):
        assert "the graph's own levels" in stages[f"{precision} tuned for {RTX}"]["why"]
