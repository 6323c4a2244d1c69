"""The measurement of many plans: the rows that it makes, those that it leaves, and the page of them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cost_sample
import gpu_cost
import gpu_cost_page
import onnx
import pytest
import served_bundle

from attn2trt.core.bundle import open_bundle
from attn2trt.core.file_hashes import sha256, verify
from attn2trt.core.manifest import manifest_text
from attn2trt.engines.environment import Driver
from attn2trt.engines.tensorrt.plans import is_of_its_graph, modules_of
from attn2trt.engines.timing.device_costs import DeviceCost
from attn2trt.errors import CheckFailed, InputError, MissingRequirement


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network, its plain backbone and a block, whose plans take a batch of 8 at most; and one without a plan."""
    plan = served_bundle.plan("9.0", "fp16", tensorrt="8.6.0")
    for name, target, plans in (
        ("a-net", "resnet18+se", [plan]),
        ("b-net", "resnet18", [plan]),
        ("se-big", "se", [plan]),
        ("none", "eca", []),
    ):
        served_bundle.write(tmp_path / "bundles" / name, name=target, precisions=("fp32", "fp16"), plans=plans)
    return tmp_path / "bundles"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A machine with a GPU, on which plans of the block break; returns what was asked of it."""
    calls: list[dict[str, Any]] = []

    def stand_in(bundle: Any, **arguments: Any) -> DeviceCost:
        calls.append({"bundle": bundle.path.name, **arguments})
        if bundle.name == "se":
            raise CheckFailed("it breaks")
        return replace(cost_sample.on_device(), target=bundle.name)

    monkeypatch.setattr(gpu_cost, "cost_plan", stand_in)
    monkeypatch.setattr(gpu_cost, "ask_driver", lambda: Driver("", ("a GPU",)))
    return calls


def run(*words: str | Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gpu_cost.py", *map(str, words)])
        return gpu_cost.main(gpu_cost.parse_words())


def test_every_plan_is_a_row_and_blocks_come_first(
    folder: Path, asked: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--out", tmp_path / "out") == 1
    assert [call["bundle"] for call in asked] == ["b-net", "se-big", "a-net"]
    assert [call["shapes"] for call in asked] == [["x=8x3x4x4"]] * 3
    assert asked[-1]["backbone"].path.name == "b-net"
    assert "se-big-fp16: it breaks" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a-net-fp16.json", "a-net-fp16.txt", "b-net-fp16.json", "b-net-fp16.txt"),
    ]
    asked.clear()
    assert run(folder, "--out", tmp_path / "other", "--only", "a-*", "--only", "*-fp16") == 1
    assert [call["bundle"] for call in asked] == ["a-net", "b-net", "se-big"]
    # of two folders, of which one has a bundle that cannot be read
    (tmp_path / "second/broken").mkdir(parents=True)
    (tmp_path / "second/broken/bundle.json").write_text("{")
    served_bundle.write(tmp_path / "second/odd", name="se", plans=[served_bundle.plan("9.0", tensorrt="8.6.0")])
    asked.clear()
    assert run(folder, tmp_path / "second", "--out", tmp_path / "third", "--only", "odd-*", "--only", "b-*") == 1
    assert [call["bundle"] for call in asked] == ["odd", "b-net"]
    assert "broken: " in capsys.readouterr().out
    # what is there is left
    asked.clear()
    assert run(folder, "--out", tmp_path / "out") == 1
    assert [call["bundle"] for call in asked] == ["se-big"]


@pytest.mark.usefixtures("asked")
def test_no_row_begins_after_the_time(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--out", tmp_path / "out", "--seconds", "0") == 1
    assert capsys.readouterr().out.count("no time was left") == 3


@pytest.mark.usefixtures("asked")
def test_the_page_has_plans_differences_and_layers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_cost_page, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(gpu_cost_page, "PAGE", tmp_path / "page.md")
    run(folder, "--out", tmp_path / "out")
    assert run("--out", tmp_path / "out", "--page", "--note", "Without cuBLAS.") == 0
    text = (tmp_path / "page.md").read_text()
    assert gpu_cost_page.page(json.loads((tmp_path / "results.json").read_text())) == text
    assert "on A GPU, TensorRT 10.9.0.\nWithout cuBLAS.\n" in text
    assert "| `a-net-fp16` | 8x3x224x224 | 0.3000 | 0.2700 | 0.0750 | 4.00 | 0.0012+ | 1000 | 0.3540 | 0.0040 |" in text
    assert "| `a-net-fp16` | 0.2000 | +0.1000 | +0.0965 to +0.1035 | +50.0% | 0.1000 | 0.0500 | 0.0250 |" in text
    assert (
        "| `a-net-fp16` | node_mul + node_add | CaskConvolution | a_kernel | layer1.0.se, layer1.0 | 0.0500 | ~0.40"
        in text
    )
    assert str(tmp_path) not in text
    assert "bundles/" not in (tmp_path / "results.json").read_text()


def test_the_page_has_pytorch_beside_plans_if_it_was_timed(
    folder: Path, asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_cost_page, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(gpu_cost_page, "PAGE", tmp_path / "page.md")
    run(folder, "--out", tmp_path / "out")
    measurement = {"runtime": "PyTorch 2.11 (eager)", "on_device": {"median_ms": 0.5, "p90_ms": 0.625}}
    row = {"batch": 8, "measurement": measurement}
    rows = [
        {**row, "runtime": "pytorch-cuda-fp16"},
        {**row, "runtime": "onnxruntime"},
        {"batch": 8, "runtime": "pytorch-cuda", "measurement": None},
        {**row, "runtime": "pytorch-cuda", "measurement": {**measurement, "on_device": None}},
    ]
    batches = [{"batch": 8, "inputs": {"x": [8, 64, 7, 7]}}]
    document = {"target": "se", "machine": {"gpus": ["A GPU"]}, "batches": batches, "rows": rows}
    file = tmp_path / "benchmark.json"
    file.write_text(json.dumps(document))
    assert run("--out", tmp_path / "out", "--page", "--benchmark", file) == 0
    lines = [line for line in (tmp_path / "page.md").read_text().splitlines() if line.startswith("| `se` |")]
    assert lines == ["| `se` | A GPU | 8x64x7x7 | PyTorch 2.11 (eager) | 0.5000 | 0.6250 |"]
    file.write_text(json.dumps({**document, "rows": [{}]}))
    with pytest.raises(
        InputError, match=r"benchmark\.json, which cannot be read .*expected what attn2trt benchmark -o"
    ):
        run("--out", tmp_path / "out", "--page", "--benchmark", file)


def test_what_is_missing_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_cost, "ask_driver", lambda: Driver("", (), "no NVIDIA driver"))
    with pytest.raises(MissingRequirement, match="no NVIDIA driver; run on a machine"):
        run(folder, "--out", tmp_path / "out")
    with pytest.raises(InputError, match="bundles without such a plan"):
        run(tmp_path, "--out", tmp_path / "out")
    with pytest.raises(InputError, match="received 1 folders, none of which is there"):
        run(tmp_path / "nowhere", "--out", tmp_path / "out")
    with pytest.raises(MissingRequirement):
        run(folder, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert "nowhere: no such folder" in capsys.readouterr().out
    with pytest.raises(InputError, match="received 0 folders"):
        run("--out", tmp_path / "out")
    with pytest.raises(InputError, match="holds no row"):
        run("--out", tmp_path / "out", "--page")


def test_plans_of_a_search_are_measured_in_copies_of_their_bundles(
    folder: Path, asked: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The graph as it is was built first; a graph of other inputs belongs to no bundle."""
    bundle = open_bundle(folder / "se-big")
    bundle.manifest["precisions"]["fp16"]["modules"] = {"mul": "fc"}
    (bundle.path / "bundle.json").write_text(manifest_text(bundle.manifest))
    for place, shape in enumerate((["batch", 3, "height", 4], ["batch", 3, "height", 4], ["batch", 9])):
        kept = tmp_path / f"cache/recipe/graph{place}"
        (kept / "plans").mkdir(parents=True)
        made = served_bundle.graph(shape)
        made.graph.node[0].name = f"mul{place}"
        onnx.save(made, kept / "model.fp16.tensorrt.onnx")
        entry = served_bundle.plan("9.0", "fp16", tensorrt="8.6.0", graph=sha256(kept / "model.fp16.tensorrt.onnx"))
        entry |= {"file": f"plans/{place}.plan", "tuned": True}
        (kept / entry["file"]).write_text("plan")
        (kept / "modules.json").write_text(json.dumps({f"mul{place}": "fc"}))
        (kept / "built.json").write_text(json.dumps({"plan": entry, "sha256": "", "files": {}}))
        os.utime(kept / "built.json", (place, place))
    before = (folder / "se-big/bundle.json").read_bytes()
    copies = tmp_path / "copies"
    found = gpu_cost.work_in([folder], ["se-*"], [tmp_path / "cache"], copies)
    assert [work.name for work in found] == ["se-big-fp16", "se-big-as-it-is-fp16-tuned", "se-big-last-fp16-tuned"]
    assert [work.plan.file for work in found[1:]] == ["plans/0.plan", "plans/1.plan"]
    for work in found[1:]:
        assert all(finding.ok for finding in verify(work.bundle.path))
        assert is_of_its_graph(work.bundle, work.plan)
        assert list(modules_of(work.bundle, work.plan)) == [f"mul{work.plan.file[6]}"]
    assert (folder / "se-big/bundle.json").read_bytes() == before
    assert all(finding.ok for finding in verify(bundle.path))
    run(folder, "--cache", tmp_path / "cache", "--out", tmp_path / "out", "--only", "se-big-l*")
    assert [call["tuned"] for call in asked] == [True]
