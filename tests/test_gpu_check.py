"""The GPU check up to the missing driver."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import onnx
import pytest

import attn2trt
from attn2trt.engines.environment import Component, Driver
from attn2trt.engines.tensorrt.build import Order
from attn2trt.engines.tensorrt.profiles import parse_profiles
from attn2trt.engines.timing.latency import Latency
from attn2trt.engines.timing.results import Measurement, Row
from attn2trt.errors import CheckFailed, InputError, MissingRequirement
from attn2trt.export.bundle import open_bundle
from attn2trt.modules import catalog
from attn2trt.modules.block_index import block_names

TOOL = Path(__file__).parents[1] / "benchmarks/gpu_check.py"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, found by its path: benchmarks are no part of the package."""
    monkeypatch.syspath_prepend(TOOL.parent)
    return importlib.import_module("gpu_check")


def test_every_tier_adds_targets_and_none_is_there_twice(tool: ModuleType) -> None:
    names = tool.targets(None)
    assert len(names) == len(set(names)) == sum(len(tool.targets(tier)) for tier in (1, 2, 3, 4))
    assert set(tool.BLOCKS) <= set(block_names())


def test_without_a_gpu_it_ends_in_one_line_with_exit_code_3(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, TOOL, tmp_path], capture_output=True, text=True, check=False)
    if ran.returncode != 3:  # there is a GPU: then the bundle that is not there is what it complains of
        assert "is not a bundle" in ran.stderr
    else:
        assert ran.stderr.startswith("error: TensorRT is ")
        assert ran.stderr.count("\n") == 1


def test_the_profile_lies_in_the_range_of_every_bundle_and_holds_what_is_timed(tool: ModuleType) -> None:
    for name, axes in (("se", tool.BLOCK_AXES), ("resnet18+se", tool.IMAGE_AXES)):
        (profile,) = parse_profiles(tool.PROFILES, catalog.resolve(name, dynamic=axes).axes)
        assert all(profile.axes["batch"].min <= batch <= profile.axes["batch"].max for batch in tool.BATCHES)


def test_rows_of_the_same_setting_are_kept(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def row(name: str, precision: str) -> dict[str, object]:
        return {"target": name, "precision": precision, "passed": (name, precision) != ("cbam", "fp16")}

    def measure(path: Path, precision: str, _options: object) -> dict[str, object]:
        asked.append((path.name, precision))
        return row(*asked[-1])

    monkeypatch.setattr(tool, "RESULTS", tmp_path / "tensorrt.json")
    monkeypatch.setattr(tool, "PAGE", tmp_path / "gpu.md")
    monkeypatch.setattr(tool, "probe_tensorrt", lambda: Component("TensorRT", "usable", "8.6.0"))
    monkeypatch.setattr(tool, "open_bundle", lambda _: None)
    monkeypatch.setattr(tool, "measure", measure)
    monkeypatch.setattr(tool, "ask_driver", lambda: Driver("CUDA 13.0", ("NVIDIA H200",)))
    rates: list[float] = []
    monkeypatch.setattr(tool, "Device", nullcontext)
    monkeypatch.setattr(tool, "bytes_per_s", lambda _: rates.append(1e12) or 1e12)
    (tmp_path / "plain").mkdir()
    tool.moves_path(tmp_path, "cbam").write_text("[]")
    for _ in range(2):
        assert tool.main(tmp_path, ["se", "cbam"], tool.Options()) == 1
    all_of_them = [(name, precision) for name in ("se", "cbam") for precision in ("fp32", "tf32", "fp16")]
    assert asked == [*all_of_them, ("cbam", "fp16")]
    written = json.loads((tmp_path / "tensorrt.json").read_text())
    assert written["rows"] == [row(*one) for one in all_of_them]
    assert (written["blocks"], written["bytes_per_s"], rates) == ({"cbam": []}, 1e12, [1e12])
    assert "failed" in (tmp_path / "gpu.md").read_text()
    assert tool.precisions("resnet50+se") == ("fp32", "tf32", "fp16", "int8")


def test_without_a_gpu_there_are_no_baselines(tool: ModuleType, tmp_path: Path) -> None:
    if tool.ask_driver().devices:
        pytest.skip("there is a GPU here")
    with pytest.raises(MissingRequirement, match="run on a machine with an NVIDIA GPU"):
        tool.baselines(tmp_path, ["se"])


def test_baselines_are_written_beside_the_plans_rows_and_kept(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def timed(path: Path, runtimes: list[str]) -> list[dict[str, object]]:
        asked.append(path.name)
        return [{"runtime": name} for name in runtimes]

    monkeypatch.setattr(tool, "RESULTS", tmp_path / "tensorrt.json")
    monkeypatch.setattr(tool, "ask_driver", lambda: Driver("CUDA 13.0", ("NVIDIA H200",)))
    monkeypatch.setattr(tool, "timed", timed)
    (tmp_path / "tensorrt.json").write_text(json.dumps({"devices": ["NVIDIA H200"], "rows": [{"target": "se"}]}))
    for _ in range(2):
        assert tool.baselines(tmp_path, ["se", "cbam"]) == 0
    assert asked == ["se", "cbam"]
    written = json.loads((tmp_path / "tensorrt.json").read_text())
    assert [row["target"] for row in written["baselines"]] == ["se", "cbam"]
    assert written["rows"] == [{"target": "se"}]
    monkeypatch.setattr(tool, "ask_driver", lambda: Driver("CUDA 13.0", ("NVIDIA A10",)))
    with pytest.raises(InputError, match="here is NVIDIA A10"):
        tool.baselines(tmp_path, ["gam"])


def test_what_was_timed_is_told_row_by_row(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    latency = Latency.of([2_000_000] * 100)
    found = Measurement("TensorRT", "GPU", "float16", latency, latency, (2.0,), 500.0, None, False, 8.0, 4, latency)
    rows = (
        Row("target", "tensorrt-fp16", 1, "measured", measurement=found),
        Row("target", "tensorrt-fp16-graph", 1, "failed", "no"),
    )
    monkeypatch.setattr(tool, "benchmark", lambda *_, **__: SimpleNamespace(rows=rows))
    one, other = tool.timed(Path("se"), [])
    assert (one["median_ms"], one["on_device_ms"], one["batch"]) == (2.0, 2.0, 1)
    assert (other["status"], other["why"]) == ("failed", "no")


def test_what_the_blocks_of_a_backbone_must_move_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOOL.parent)
    block_bytes = importlib.import_module("block_bytes")
    name = "resnet18+se"
    blocks = block_bytes.count(name, catalog.resolve(name).build())
    assert [block["places"] for block in blocks] == [2, 2, 2, 2]
    assert blocks[0]["map_numbers"] == 2 * 64 * 56 * 56  # read and written
    assert blocks[0]["weight_numbers"] == 64 * 4 + 4 + 4 * 64 + 64
    one = [blocks[0]]
    assert block_bytes.total(one, 8, 2) == 2 * 2 * (8 * blocks[0]["map_numbers"] + blocks[0]["weight_numbers"])


def test_a_plain_export_lies_beside_its_bundle_once(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[str] = []
    beside = tool.export_beside

    def export_beside(folder: Path, name: str, *more: object) -> None:
        exported.append(name)
        beside(folder, name, *more)

    monkeypatch.setattr(tool, "export_beside", export_beside)
    monkeypatch.setattr(tool, "BLOCK_AXES", "batch=1:2:3")
    for _ in range(2):
        tool.export(tmp_path, ["se"])
    assert exported == ["se"]
    graph = onnx.load(tool.plain_plans.graph_path(tmp_path, "se"))
    bundle = open_bundle(tmp_path / "se")
    assert [entry.version for entry in graph.opset_import if not entry.domain] == [17]
    assert [value.name for value in graph.graph.output] == [output.name for output in bundle.outputs]
    assert [value.name for value in graph.graph.input] == [given.name for given in bundle.inputs]


def test_a_plain_plan_is_ordered_as_a_user_would_and_refusals_are_told(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans, orders = tool.plain_plans, []
    attn2trt.deploy("eca", out=tmp_path / "eca", shapes=["2x8x6x6"], dynamic="batch=1:2:3")
    bundle = open_bundle(tmp_path / "eca")
    (found,) = {*plans.plain_contender(bundle, "fp16", [], tool.Options()).jobs.values()}
    assert found == "PyTorch's exporter refuses the target"
    (tmp_path / "plain").mkdir()
    plans.graph_path(tmp_path, "eca").write_bytes(b"graph")

    def build(order: Order) -> dict[str, object]:
        orders.append(order)
        if order.precision == "fp32":
            raise CheckFailed("no kernel")
        return {"tensorrt": "8.6.0", "gpu": "NVIDIA H200", "capabilities": ["9.0"], "driver": "13.0"}

    monkeypatch.setattr(plans, "build_isolated", build)
    jobs = plans.plain_contender(bundle, "fp16", ["batch=1:3:3"], tool.Options(level=3)).jobs
    assert {name: job.graphed for name, job in jobs.items()} == {"tensorrt-fp16": False, "tensorrt-fp16-graph": True}
    assert json.loads(jobs["tensorrt-fp16"].about)["plan"]["precision"] == "fp16"
    assert orders[0].weakly_typed
    assert orders[0].options.level == 3
    assert [str(profile) for profile in orders[0].profiles] == ["batch=1:3:3"]
    assert orders[0].layers == plans.layers_path(tmp_path, "eca", "fp16")
    refused = plans.plain_contender(bundle, "fp32", [], tool.Options()).jobs
    assert set(refused.values()) == {"no kernel"}
