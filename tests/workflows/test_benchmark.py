"""A benchmark is checked before it is timed, every runtime has a row, and a row without numbers has a reason."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from deployed_once import HALF, PLAIN, deployed_once
from manifest_edits import edit
from pretended_worker import real_workers
from quick_method import QUICK
from wrong_weights import scale_largest

from attn2trt.core.bundle import open_bundle
from attn2trt.core.extend import extend
from attn2trt.engines.environment import Component, Driver
from attn2trt.engines.ort_runtime import CPU
from attn2trt.engines.tensorrt import here
from attn2trt.engines.tensorrt.plans import Plan, plans_of
from attn2trt.engines.tensorrt.profiles import parse_profiles
from attn2trt.engines.timing import runtimes
from attn2trt.engines.timing.results import Benchmark, Row
from attn2trt.engines.timing.runners import OrtRunner
from attn2trt.errors import CheckFailed, InputError, MissingRequirement
from attn2trt.modules import catalog, packages
from attn2trt.workflows import bundle_variants
from attn2trt.workflows.benchmark import benchmark, is_bundle
from attn2trt.workflows.options import Weights
from attn2trt.workflows.timed_batch import watch_of
from attn2trt.workflows.variant_runners import ModuleRunners

SMALL: dict[str, Any] = {"shapes": ["2x16x4x4"], "dynamic": "batch=1:2:4"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed_once(tmp_path_factory, "se", PLAIN)


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "se"))


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that runs bundles alone."""
    monkeypatch.setattr(packages, "find_spec", lambda name: None)


def rows(found: Benchmark, status: str) -> dict[tuple[str, int], Row]:
    return {(row.runtime, row.batch): row for row in found.rows if row.status == status}


def test_a_target_is_timed_in_every_runtime_with_the_same_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    real_workers(monkeypatch)
    found = benchmark(
        "se",
        batches=[3, 1],
        runtimes=["ort-cpu", "pytorch-eager", "ort-cpu-plain-export", "tensorrt"],
        shapes=["2x16x4x4"],
        threads=1,
        method=QUICK,
    )
    measured = rows(found, "measured")
    assert set(measured) == {
        (name, batch) for name in ("pytorch-eager", "ort-cpu", "ort-cpu-plain-export") for batch in (1, 3)
    }
    assert list(found.sizes) == [1, 3]
    assert found.sizes[3] == {"x": (3, 16, 4, 4)}
    for (_, batch), row in measured.items():
        measurement = row.measurement
        assert measurement is not None
        assert measurement.latency.iterations >= QUICK.iterations
        assert len(measurement.round_medians_ms) == QUICK.rounds
        assert measurement.throughput_per_s == pytest.approx(batch * 1000 / measurement.latency.mean_ms)
        assert measurement.device == "CPU"
        assert measurement.input_sets >= 2
    assert set(rows(found, "not measured")) == {("tensorrt", 1), ("tensorrt", 3)}
    document = json.loads(json.dumps(found.to_json()))
    assert [entry["batch"] for entry in document["batches"]] == [1, 3]
    assert document["threads"] == 1
    assert len(document["rows"]) == 8


@pytest.mark.usefixtures("no_torch")
def test_a_bundle_needs_no_pytorch(bundle: Path) -> None:
    found = benchmark(str(bundle), batches=[4], threads=1, method=QUICK)
    assert set(rows(found, "measured")) == {("ort-cpu", 4)}
    assert "pip install torch" in rows(found, "not measured")["pytorch-eager", 4].why
    assert {row.runtime for row in found.rows} == set(runtimes.check_names(()))
    assert (found.target, found.bundle) == ("se", str(bundle))


def test_a_bundle_is_timed_beside_the_module_that_it_was_made_of(bundle: Path) -> None:
    found = benchmark(str(bundle), runtimes=["ort-cpu", "pytorch-eager"], threads=1, method=QUICK)
    assert set(rows(found, "measured")) == {("ort-cpu", 2), ("pytorch-eager", 2)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest.pop("build"), "does not say how its module is built"),
        (lambda manifest: manifest["build"].update(checkpoint=True), "came from a checkpoint"),
        (lambda manifest: manifest["build"].update(seed=1), "not what the bundle recorded"),
        (lambda manifest: manifest["target"].update(name="py:os:abort"), "not trusted to run code"),
        (lambda manifest: manifest["target"].update(name="see"), "received target 'see'"),
    ],
)
def test_a_module_that_cannot_be_built_again_is_reported_and_the_bundle_is_timed(
    bundle: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edit(bundle, change)
    found = benchmark(str(bundle), runtimes=["ort-cpu", "pytorch-eager"], threads=1, method=QUICK)
    assert set(rows(found, "measured")) == {("ort-cpu", 2)}
    assert words in rows(found, "not measured")["pytorch-eager", 2].why


@pytest.mark.parametrize("with_torch", [True, False])
def test_a_graph_that_computes_something_else_is_not_timed(
    bundle: Path, with_torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_torch:
        monkeypatch.setattr(packages, "find_spec", lambda name: None)
    scale_largest(bundle / "model.onnx", 1.01)
    digest = hashlib.sha256((bundle / "model.onnx").read_bytes()).hexdigest()
    edit(bundle, lambda manifest: manifest["files"]["model.onnx"].update(sha256=digest))
    found = benchmark(str(bundle), runtimes=["ort-cpu"], threads=1, method=QUICK)
    (row,) = found.rows
    assert (row.status, row.measurement) == ("wrong", None)
    assert "output" in row.why


def test_a_wrong_baseline_is_recognised(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale_largest(bundle / "model.onnx", 1.01, to=tmp_path / "wrong.onnx")
    monkeypatch.setattr(ModuleRunners, "_plain_export", lambda *_: OrtRunner(tmp_path / "wrong.onnx", CPU))
    found = benchmark(str(bundle), runtimes=["ort-cpu", "ort-cpu-plain-export"], threads=1, method=QUICK)
    assert set(rows(found, "measured")) == {("ort-cpu", 2)}
    (wrong,) = rows(found, "wrong").values()
    assert wrong.is_baseline
    assert "differ by at most 2e-05" in wrong.why


def test_a_baseline_that_does_not_work_is_not_measured(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModuleRunners, "_plain_export", lambda *_: OrtRunner(bundle / "none.onnx", CPU))
    found = benchmark(str(bundle), runtimes=["ort-cpu", "ort-cpu-plain-export"], threads=1, method=QUICK)
    assert set(rows(found, "measured")) == {("ort-cpu", 2)}
    assert "cannot load" in rows(found, "not measured")["ort-cpu-plain-export", 2].why


@pytest.mark.usefixtures("no_torch")
def test_a_provider_that_falls_back_is_an_error_and_not_a_number(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    falls_back = runtimes.GraphRuntime("a provider", partial(OrtRunner, provider="NoSuchExecutionProvider"))
    monkeypatch.setitem(runtimes.RUNTIMES, "ort-cuda", falls_back)
    found = benchmark(str(bundle), runtimes=["ort-cuda", "ort-cpu"], threads=1, method=QUICK)
    (row,) = rows(found, "failed").values()
    assert row.runtime == "ort-cuda"
    assert "received provider NoSuchExecutionProvider" in row.why
    assert set(rows(found, "measured")) == {("ort-cpu", 2)}


@pytest.mark.usefixtures("no_torch")
def test_numbers_of_an_unknown_graph_are_not_taken(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(CheckFailed, match="changed"):
        benchmark(str(bundle), method=QUICK)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batches": [5]}, "batch=1:2:5"),
        ({"batches": [0]}, "numbers of 1 or more"),
        ({"runtimes": ["onnx"]}, "expected pytorch-eager"),
        ({"shapes": ["1x16x4x4"]}, "--shape with a bundle"),
        ({"weights": Weights(seed=1)}, "--seed with a bundle"),
        ({"weights": Weights(checkpoint="net.pt")}, "--checkpoint with a bundle"),
        ({"threads": 0}, "0 threads"),
    ],
)
def test_wrong_arguments_are_one_line(exported: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        benchmark(str(exported), method=QUICK, **arguments)


def test_a_batch_outside_of_a_targets_own_range_is_refused() -> None:
    with pytest.raises(InputError, match="received batch 9; expected one of the range 1:2:4"):
        benchmark("se", batches=[9], runtimes=["ort-cpu"], method=QUICK, **SMALL)


def test_a_target_needs_what_exports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(MissingRequirement, match="pip install"):
        benchmark("se", method=QUICK)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("se", False), ("bundles/se", True), ("resnet50:features_only=true,out_indices=2/3/4", False), (".", True)],
)
def test_a_folder_is_distinguished_from_a_target(name: str, expected: bool) -> None:
    assert is_bundle(name) is expected


def test_a_checkpoint_is_looked_for_in_the_folder_that_the_command_began_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    moving = "import os\nfrom torch import nn\nos.chdir('elsewhere')\nclass Net(nn.Conv2d):\n"
    Path("moving.py").write_text(f"{moving}    def __init__(self): super().__init__(3, 4, 1)\n")
    found: list[Path] = []

    def resolve(_spec: str, *, checkpoint: Path, **_: Any) -> None:
        found.append(checkpoint)
        raise InputError("resolved")

    monkeypatch.setattr(catalog, "resolve", resolve)
    with pytest.raises(InputError, match="resolved"):
        benchmark("moving.py", batches=[2], shapes=["2x3x8x8"], weights=Weights(checkpoint="net.pt"), method=QUICK)
    assert Path.cwd() == tmp_path / "elsewhere"
    assert found == [tmp_path / "net.pt"]


def test_doubtful_numbers_are_warned_about(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    found = benchmark(str(exported), runtimes=["ort-cpu"], threads=1, method=QUICK)
    busy = {2: replace(found.conditions[2], other_cores=1.5, throttled=3)}
    (row,) = found.rows
    assert row.measurement is not None
    unsteady = replace(row, measurement=replace(row.measurement, latency=replace(row.measurement.latency, cv=0.03)))
    first, second = replace(found, conditions=busy, rows=(unsteady,)).warnings()
    assert "1.5 cores were busy with something else, and a core was throttled 3 times" in first
    assert second == "the latency varies by more than 2.5 %: target in ort-cpu at batch 2"


def test_processors_are_asked_how_near_they_are_where_something_runs_on_them() -> None:
    on_gpu = watch_of([("target", "tensorrt"), ("target", "pytorch-cuda-fp16")])
    assert on_gpu.measure() is None
    both = watch_of([("target", "tensorrt"), ("target", "ort-cpu")])
    assert both.measure() is not None


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed_once(tmp_path_factory, "se", HALF)


@pytest.fixture
def planned(deployed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with two plans on a machine with a GPU; ONNX Runtime runs in place of them."""
    found = open_bundle(shutil.copytree(deployed, tmp_path / "se"))
    add_plans(found.path)
    monkeypatch.setattr(here, "probe_tensorrt", lambda: Component("TensorRT", "usable", "8.6.0"))
    monkeypatch.setattr(here, "ask_driver", lambda: Driver("", ("NVIDIA H200 (compute capability 9.0)",)))
    graph = {plan.file: found.path / found.graphs[plan.precision] for plan in plans_of(open_bundle(found.path))}
    monkeypatch.setattr(bundle_variants, "checked", lambda _bundle, plan: (graph[plan.file], ""))
    monkeypatch.setattr(bundle_variants, "PlanRunner", lambda file, about, graphed, io: OrtRunner(file, CPU))
    return found.path


def add_plans(path: Path, *, profile: str | None = None, **changes: Any) -> None:
    bundle = open_bundle(path)
    profiles = tuple(parse_profiles([] if profile is None else [profile], bundle.axes))
    files = bundle.manifest["files"]
    plans = [
        Plan(f"plans/{name}.plan", name, files[graph]["sha256"], profiles, "8.6.0", "NVIDIA H200", ("9.0",), "13.0")
        for name, graph in bundle.graphs.items()
    ]
    (path / "plans").mkdir(exist_ok=True)
    for plan in plans:
        (path / plan.file).write_bytes(b"plan")
    entries = [{**plan.to_json(), **changes} for plan in plans]
    extend(bundle, {plan.file: "plan" for plan in plans}, {"plans": entries})


@pytest.mark.usefixtures("no_torch")
def test_the_plans_of_a_bundle_are_timed_and_judged_by_their_precision(planned: Path) -> None:
    found = benchmark(str(planned), batches=[1], threads=1, method=QUICK)
    names = ["tensorrt", "tensorrt-graph", "tensorrt-fp16", "tensorrt-fp16-graph"]
    measured = {row.runtime: row.measurement for row in found.rows if row.measurement is not None}
    assert [row.runtime for row in found.rows if row.runtime.startswith("tensorrt")] == names
    assert [(measured[name].device, measured[name].precision) for name in names] == [
        *(("GPU", "float32"), ("GPU", "float32"), ("GPU", "float16"), ("GPU", "float16")),
    ]


def test_a_plan_that_computes_something_else_is_wrong_and_not_timed(planned: Path) -> None:
    scale_largest(planned / "model.fp16.onnx", 10.0)
    digest = hashlib.sha256((planned / "model.fp16.onnx").read_bytes()).hexdigest()
    edit(planned, lambda told: told["files"]["model.fp16.onnx"].update(sha256=digest))
    add_plans(planned)
    found = benchmark(str(planned), runtimes=["ort-cpu", "tensorrt-fp16"], threads=1, method=QUICK)
    assert set(rows(found, "wrong")) == {("tensorrt-fp16", 2)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"capabilities": ["8.7"]}, "here is TensorRT 8.6.0 on sm90: run `attn2trt compile`"),
        ({"tensorrt": "10.3.0"}, "was built with TensorRT 10.3.0"),
        ({"graph": "0" * 64}, "was built from another graph"),
        ({"precision": "int8"}, "no fp32 plan; attn2trt compile --precision fp32 writes one"),
        ({"profile": "batch=4"}, "holds no case that was recorded"),
    ],
)
def test_a_plan_that_cannot_be_loaded_or_checked_is_not_measured(
    planned: Path, changes: dict[str, Any], words: str
) -> None:
    add_plans(planned, **changes)
    found = benchmark(str(planned), runtimes=["ort-cpu", "tensorrt"], threads=1, method=QUICK)
    (row,) = rows(found, "not measured").values()
    assert words in row.why


def test_pytorch_on_a_gpu_is_not_measured_where_there_is_none(bundle: Path) -> None:
    if runtimes.why_no_cuda_torch() == "":
        pytest.skip("there is a GPU here")
    found = benchmark(str(bundle), runtimes=["ort-cpu", "pytorch-cuda-fp16"], threads=1, method=QUICK)
    assert set(rows(found, "not measured")) == {("pytorch-cuda-fp16", 2)}
