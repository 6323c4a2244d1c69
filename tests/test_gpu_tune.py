"""The benchmark of tuning on a GPU: up to the missing driver, and with a search that needs none; and its page."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from attn2trt.errors import CheckFailed

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DIFFERENCE = {"ms": -0.01, "low_ms": -0.012, "high_ms": -0.008, "confidence": 0.96, "rounds": 12}
TRIAL = {"form": "pool", "kind": "mean", "count": 1, "before_ms": 0.05, "difference": DIFFERENCE, "kept": True}
WHOLE = {
    "sizes": {"batch": 32},
    "runtime": "TensorRT 8.6.0",
    "precision": "fp16",
    "gpu": "NVIDIA H200",
    "flags": {"without_tactics": ["cudnn"]},
    "trials": [TRIAL],
    "before_ms": 0.05,
    "after_ms": 0.04,
    "difference": DIFFERENCE,
    "chosen": ["pool (mean)"],
    "not_tried": {"merge (gate)": "no time was left"},
}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu_tune")


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    found = importlib.import_module("gpu_tune_page")
    monkeypatch.setattr(found, "RESULTS", tmp_path / "gpu_tune.json")
    monkeypatch.setattr(found, "PAGE", tmp_path / "gpu_tune.md")
    return found


def test_it_ends_at_the_missing_driver(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "why_no_flavour", lambda _: "no NVIDIA driver (libcuda.so.1 is not there)")
    monkeypatch.setattr(sys, "argv", ["gpu_tune.py", str(tmp_path / "run")])
    with pytest.raises(tool.MissingRequirement, match="plans are timed on a GPU by TensorRT: no NVIDIA driver"):
        tool.main()
    assert not (tmp_path / "run").exists()


class Search:
    """A stand-in for ``PlanSearch``, which notes what is asked of it."""

    def __init__(self, events: list[str], *, is_broken: bool) -> None:
        self.plans: dict[Any, Any] = {} if is_broken else {(): None}
        self.trials: dict[Any, Any] = {}
        self.builds: list[Any] = []
        self.not_tried: dict[str, str] = {}
        self._events, self._is_broken = events, is_broken

    def build_singles(self) -> None:
        if self._is_broken:
            raise CheckFailed("the plan of the graph as it is was not built: no")
        self._events.append("build")

    def time_singles(self) -> None:
        self._events.append("time")

    def build_together(self) -> None:
        self._events.append("combine")

    def combine(self) -> Any:
        self._events.append("whole")
        return type("Found", (), {"tuning": type("Tuning", (), {"to_json": lambda _: WHOLE})()})()


class Cache:
    def build_until(self, _: float) -> None:
        return None


def test_every_case_is_built_timed_combined_and_a_broken_one_keeps_none_from_it(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def search_of(folder: Path, name: str, arguments: Any, stack: object) -> Search:
        arguments.caches[name] = Cache()
        return Search(events, is_broken=name == "b")

    monkeypatch.setattr(tool, "CASES", {"a": ("se", "", 8, 8), "b": ("cbam", "", 8, 8)})
    monkeypatch.setattr(tool, "search_of", search_of)
    monkeypatch.setattr(tool, "keep_layers", lambda *_: None)
    monkeypatch.setattr(tool, "why_no_flavour", lambda _: "")
    monkeypatch.setattr(sys, "argv", ["gpu_tune.py", str(tmp_path), "--minutes", "1"])
    assert tool.main() == 0
    assert events == ["build", "time", "combine", "whole"]
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == [
        *("build-a.json", "build-b-error.json", "trial-a.json", "whole-a.json"),
    ]
    assert "was not built" in json.loads((tmp_path / "rows/build-b-error.json").read_text())["why"]


def test_the_page_shows_the_whole_the_trials_and_what_was_not_tried(pages: ModuleType, tmp_path: Path) -> None:
    (rows := tmp_path / "run/rows").mkdir(parents=True)
    builds = [{"form": "graph as it is", "seconds": 41.2}, {"form": "pool (mean)", "seconds": 9.7}]
    (rows / "build-se.json").write_text(json.dumps({"builds": builds}))
    (rows / "whole-se.json").write_text(json.dumps(WHOLE))
    (rows / "build-cbam-error.json").write_text(json.dumps({"why": "TensorRT refuses\nnode Mul"}))
    assert pages.main([str(tmp_path / "run")]) == 0
    text = (tmp_path / "gpu_tune.md").read_text()
    for words in (
        "TensorRT 8.6.0 in fp16 on NVIDIA H200",
        "Without kernels of cudnn",
        "| `se` | batch 32 | 0.0500 | 0.0400 | -0.0100 | -0.0120 to -0.0080 | pool (mean) |",
        "| `cbam` | - | - | - | - | - | not reached |",
        "| mean | pool | 1 | 0.0500 | -0.0100 | -0.0120 to -0.0080 | kept |",
        "was built in 41 s; 1 more took 10 to 10 s",
        "- not tried, merge (gate): no time was left",
        "- not tried, the step build: TensorRT refuses node Mul",
    ):
        assert words in text
    assert pages.main([]) == 0


def test_a_run_without_a_comparison_is_no_result(pages: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "run/rows").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no row of a comparison"):
        pages.main([str(tmp_path / "run")])
    assert not pages.RESULTS.exists()
    said = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu_tune_page.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr.count("\n")) == (4, 1)
