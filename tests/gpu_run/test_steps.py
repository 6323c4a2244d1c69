"""The steps of the GPU check up to the device: TensorRT and the timing are stood in for."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpu_step
import onnx
import plain_plans
import pytest
from gpu import building, exporting, timing, work
from gpu.rows import read_row, write_row
from gpu.work import Case

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.extend import changing, extend
from attn2trt.core.file_hashes import verify
from attn2trt.engines.tensorrt.build import BuildOptions, BuildOrder
from attn2trt.engines.tensorrt.plans import Plan
from attn2trt.engines.tensorrt.profiles import parse_profiles
from attn2trt.engines.timing.latency import Latency
from attn2trt.engines.timing.results import Measurement, Row
from attn2trt.engines.timing.runners import PlanRunner
from attn2trt.errors import CheckFailed, InputError
from attn2trt.modules import catalog
from attn2trt.modules.block_index import block_names
from attn2trt.validate.stages.stage import LAYERS, ROWS, VALUES, Stage
from attn2trt.validate.verdict import StageResult

CASE = Case("se-16x4x4", "se", "2x16x4x4", batches=(8,))
BUILT = {"flavour": "tensorrt", "tensorrt": "8.6.0", "gpu": "NVIDIA H200", "capabilities": ["9.0"], "driver": "13.0"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("exported")
    return folder, exporting.export_case(folder, CASE)


@pytest.fixture
def folder(exported: tuple[Path, dict[str, Any]]) -> Iterator[Path]:
    """With the export alone, whatever a test before has done."""
    path = exported[0]
    manifest = path / "bundles/se-16x4x4/bundle.json"
    before = manifest.read_text()
    yield path
    manifest.write_text(before)


def test_an_export_has_a_bundle_for_the_profile_and_a_plain_export(exported: tuple[Path, dict[str, Any]]) -> None:
    folder, row = exported
    bundle = open_bundle(folder / "bundles/se-16x4x4")
    assert (row["passed"], row["no_plain_export"], row["blocks"]) == (True, "", [])
    assert {"fp32", "fp16"} <= bundle.graphs.keys()
    assert not bundle.manifest.get("plans")
    (profile,) = parse_profiles([work.PROFILE], bundle.axes)
    assert all(profile.axes["batch"].min <= batch <= profile.axes["batch"].max for batch in (1, 8, 32))
    graph = onnx.load(plain_plans.graph_path(folder, CASE.name))
    assert [entry.version for entry in graph.opset_import if not entry.domain] == [17]
    assert [value.name for value in graph.graph.output] == [output.name for output in bundle.outputs]
    assert [value.name for value in graph.graph.input] == [given.name for given in bundle.inputs]


def test_every_case_can_be_resolved_and_no_name_is_there_twice() -> None:
    found = work.cases()
    assert len(found) == sum(map(len, work.WAVES))
    assert len({step.name for step in work.steps()}) == len(work.steps())
    assert {*work.FIRST, *work.SECOND} <= {*block_names()}
    for case in found.values():
        read = catalog.read(case.spec, shapes=[case.shape] if case.shape else [], dynamic=work.RANGE)
        assert set(read.axes) == {"batch"}


def stand_in_build(path: Path, *, precision: str, profiles: list[str], **_: object) -> tuple[Bundle, Plan]:
    """A build that takes no time."""
    with changing(path) as bundle:
        (name := path / "plans/sm90-trt8.6.0-fp16.plan").parent.mkdir(exist_ok=True)
        name.write_bytes(b"plan")
        chosen = tuple(parse_profiles(profiles, bundle.axes))
        about = {**BUILT, "capabilities": ("9.0",)}
        plan = Plan("plans/sm90-trt8.6.0-fp16.plan", precision, "hash", chosen, **about)
        return extend(bundle, {plan.file: "a plan"}, {"plans": [plan.to_json()]}), plan


@pytest.mark.parametrize(
    ("statuses", "numerics", "passed"),
    [
        (("passed", "passed", "passed"), True, True),
        (("passed", "passed", "failed"), True, False),
        (("passed", "failed", "passed"), False, False),
        (("not checked", "passed", "passed"), False, False),
    ],
)
def test_a_plan_is_built_into_the_bundle_and_judged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, statuses: tuple[Any, ...], numerics: bool, passed: bool
) -> None:
    asked: list[dict[str, Any]] = []
    names = ("tensorrt fp16", "tensorrt fp16, rows", "tensorrt fp16, layers")

    def judged(bundle: Any, _cases: object) -> list[StageResult]:
        asked.append(bundle.manifest)
        stages = [Stage("tensorrt", "fp16", kind) for kind in (VALUES, ROWS, LAYERS)]
        return [StageResult(stage, status, "why") for stage, status in zip(stages, statuses, strict=True)]

    monkeypatch.setattr(building, "compile_bundle", stand_in_build)
    monkeypatch.setattr(building, "why_not_runnable", lambda _: "")
    monkeypatch.setattr(building, "judge_plans", judged)
    for _ in range(2):  # done again, the plan takes the earlier one's place
        row = building.build_plan(folder, CASE, "fp16", BuildOptions(), None)
    assert (row["judged"], row["numerics"], row["passed"]) == (True, numerics, passed)
    assert all(
        f"{name}: {status}" in row["why"] for name, status in zip(names, statuses, strict=True) if status != "passed"
    )
    assert "graph" not in row["plan"]
    bundle = open_bundle(folder / "bundles/se-16x4x4")
    assert [plan["file"] for plan in bundle.manifest["plans"]] == ["plans/sm90-trt8.6.0-fp16.plan"]
    assert all(finding.ok for finding in verify(bundle.path))
    assert len(asked[0]["plans"]) == 1


def test_a_plan_that_cannot_run_here_is_built_and_not_judged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "why_not_runnable", lambda _: "no NVIDIA driver")
    row = building.build_plan(folder, CASE, "fp16", BuildOptions(), "sm89")
    assert row["plan"]["capabilities"] == ["8.9"]
    assert (row["judged"], row["passed"], row["why"]) == (False, False, "built, not judged: no NVIDIA driver")


def build_plain(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[BuildOrder]]:
    orders: list[BuildOrder] = []

    def build(order: BuildOrder) -> Mapping[str, Any]:
        orders.append(order)
        order.plan.write_bytes(b"plan")
        return BUILT

    monkeypatch.setattr(plain_plans, "build_isolated", build)
    return building.build_plain(folder, CASE, "fp16", BuildOptions(level=3))["plan"], orders


def test_a_plain_plan_is_ordered_as_a_user_would(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, orders = build_plain(folder, monkeypatch)
    assert orders[0].weakly_typed
    assert orders[0].options.level == 3
    assert [str(profile) for profile in orders[0].profiles] == [work.PROFILE]
    assert orders[0].layers == plain_plans.layers_path(folder, CASE.name, "fp16").resolve()
    runners = plain_plans.plain_variant(folder, CASE.name, open_bundle(folder / "bundles/se-16x4x4"), [plan]).runners
    found = {name: runner.graphed for name, runner in runners.items() if isinstance(runner, PlanRunner)}
    assert found == {"tensorrt-fp16": False, "tensorrt-fp16-graph": True}
    # whoever loads the file holds it against this hash
    about = [json.loads(runner.about) for runner in runners.values() if isinstance(runner, PlanRunner)]
    assert {entry["sha256"] for entry in about} == {hashlib.sha256(b"plan").hexdigest()}


def test_without_a_plain_export_there_is_no_plain_plan(folder: Path) -> None:
    other = Case("se-other", "se")
    bundle = open_bundle(folder / "bundles/se-16x4x4")
    with pytest.raises(InputError, match="PyTorch's exporter refuses the target"):
        plain_plans.build_plain(folder, other.name, bundle, "fp16", [work.PROFILE], BuildOptions())


def asked_of(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    latency = Latency.of([2_000_000] * 100)
    found = Measurement("TensorRT", "GPU", "float16", latency, latency, (2.0,), 500.0, None, False, 8.0, 4, latency)
    rows = (Row("target", "a", 8, "measured", measurement=found), Row("target", "b", 8, "failed", "no"))

    def benchmark(path: str, **more: Any) -> Any:
        asked.update(more, path=path)
        return SimpleNamespace(rows=rows, warnings=lambda: ["noisy"])

    monkeypatch.setattr(timing, "benchmark", benchmark)
    return asked


def keep(folder: Path, name: str, **more: Any) -> None:
    write_row(folder, {"step": name, "setting": "now", "status": "done", **more})


def test_plans_whose_numerics_are_right_are_timed_in_turn(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of(monkeypatch)
    case = Case("se-16x4x4", "se", "2x16x4x4", ("fp16", "fp32"), batches=(8,))
    plain, _ = build_plain(folder, monkeypatch)
    for path in ("bundles", "plain"):
        (tmp_path / path).symlink_to(folder / path)
    keep(tmp_path, "build-se-16x4x4-fp16", numerics=True, passed=False)
    keep(tmp_path, "build-se-16x4x4-fp32", numerics=False, why="wrong")
    keep(tmp_path, "plain-se-16x4x4-fp16", plan=plain)
    found = timing.time_plans(tmp_path, case, 8, "tensorrt", "now")
    assert asked["runtimes"] == ["tensorrt-fp16", "tensorrt-fp16-graph"]
    assert [one.name for one in asked["beside"]] == ["plain export"]
    assert (asked["batches"], asked["backbone"]) == ([8], False)
    assert found["warnings"] == ["noisy"]
    measured, failed = found["timing"]
    assert (measured["median_ms"], measured["on_device_ms"], measured["model"]) == (2.0, 2.0, "target")
    assert (failed["status"], failed["why"]) == ("failed", "no")
    with pytest.raises(CheckFailed, match="fp16: not built; fp32: not built"):
        timing.time_plans(tmp_path, case, 8, "tensorrt", "of another TensorRT")


def test_pytorch_is_timed_compiled_only_if_it_has_been_compiled_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of(monkeypatch)
    timing.time_pytorch(tmp_path, CASE, 8, "now")
    assert asked["runtimes"] == ["pytorch-cuda-fp16", "pytorch-cuda-fp16-graph"]
    keep(tmp_path, "compile-se-16x4x4-8")
    timing.time_pytorch(tmp_path, CASE, 8, "now")
    assert {"pytorch-cuda-compile-fp16", "pytorch-cuda-compile-fp16-graph"} < {*asked["runtimes"]}


def test_compiling_fails_with_pytorchs_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_of(monkeypatch)
    with pytest.raises(CheckFailed, match=r"^no$"):
        timing.compile_pytorch(tmp_path, CASE, 8)
    assert asked["runtimes"] == ["pytorch-cuda-compile-fp16"]


def arguments(folder: Path, step: str) -> Any:
    return SimpleNamespace(folder=folder, step=step, setting="now", since=0.0, targets=None, without_tactics=[])


def test_a_step_writes_its_row_and_an_error_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_step, "die_with_parent", lambda: None)
    monkeypatch.setattr(building, "build_plan", lambda *_: {"passed": True})
    assert gpu_step.main(arguments(tmp_path, "build-se-256x56x56-fp16")) == 0
    row = read_row(tmp_path, "build-se-256x56x56-fp16", "now")
    assert row is not None
    assert (row["status"], row["passed"], row["case"], row["precision"]) == ("done", True, "se-256x56x56", "fp16")
    assert gpu_step.main(arguments(tmp_path, "build-resnet50-fp16")) == 0
    monkeypatch.undo()
    monkeypatch.setattr(gpu_step, "die_with_parent", lambda: None)
    assert gpu_step.main(arguments(tmp_path, "plain-resnet50-fp16")) == 0
    row = read_row(tmp_path, "plain-resnet50-fp16")
    assert row is not None
    assert row["status"] == "failed"
    assert "is not a bundle" in row["why"]
    with pytest.raises(InputError, match="received --step nonsense"):
        gpu_step.main(arguments(tmp_path, "nonsense"))


def test_a_probe_says_what_there_is() -> None:
    ran = subprocess.run(
        [sys.executable, Path(gpu_step.__file__), "--probe", "--for", "sm89"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout)
    assert (found["flavour"], found["versions"]["torch"].split(".")[0]) == ("tensorrt-rtx", "2")
    assert found["problem"] or found["devices"]


def test_what_the_blocks_of_a_backbone_must_move_is_counted() -> None:
    import block_bytes

    name = "resnet18+se"
    blocks = block_bytes.count(name, catalog.resolve(name).build())
    assert [block["places"] for block in blocks] == [2, 2, 2, 2]
    assert blocks[0]["map_numbers"] == 2 * 64 * 56 * 56  # read and written
    assert blocks[0]["weight_numbers"] == 64 * 4 + 4 + 4 * 64 + 64
    one = [blocks[0]]
    assert block_bytes.total(one, 8, 2) == 2 * 2 * (8 * blocks[0]["map_numbers"] + blocks[0]["weight_numbers"])
