"""Every page with figures is what its command makes of the stored results: no number in it was typed."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# the module of benchmarks/ that writes a page, its results, and the page
PAGES = [
    ("attack", "attack", "attack"),
    ("backbones", "backbones", "backbones"),
    ("catalogue", "catalogue", "catalogue"),
    ("derive_tf32_limit", "tf32_limit", "tf32"),
    ("families", "families", "families"),
    ("field", "field", "field"),
    ("foreign", "foreign", "foreign"),
    ("gpu_cost_page", "gpu_cost", "gpu_cost"),
    ("growth", "growth", "growth"),
    ("large", "large", "large"),
    ("localize", "localize", "localize"),
    ("pipeline", "pipeline", "pipeline"),
    ("precision_search", "precision_search", "auto"),
    ("quantised_files", "quantised_files", "quantised_files"),
    ("statuses", "statuses", "statuses"),
    ("sweep", "sweep", "sweep"),
    ("tensorrt_builds", "tensorrt_builds", "tensorrt_builds"),
    ("tensorrt_operators", "tensorrt_operators", "tensorrt_operators"),
    ("third_party", "third_party", "third_party"),
    ("vision", "vision", "vision"),
]


@pytest.mark.parametrize(("tool", "results", "page"), PAGES)
def test_a_page_is_what_its_command_writes(tool: str, results: str, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert written_by(tool, (stored(results),), monkeypatch) == (ROOT / f"docs/{page}.md").read_text()


def test_the_page_of_8_bit_formats_is_what_its_command_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    results = {precision: stored(f"{precision}_limit") for precision in ("int8", "int8-fp16", "fp8")}
    results["int8_placement"] = stored("int8_placement")
    assert written_by("int8_page", (results,), monkeypatch) == (ROOT / "docs/int8.md").read_text()


def test_the_page_of_candidates_is_what_its_command_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    results = {name: stored(name) for name in ("gpu_candidates", "tactic_times")}
    assert written_by("gpu_candidates_page", (results,), monkeypatch) == (ROOT / "docs/gpu_candidates.md").read_text()


def test_the_page_of_blocks_is_what_its_command_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    results = (stored("blocks"), stored("blocks_further"))
    assert written_by("blocks", results, monkeypatch) == (ROOT / "docs/benchmark.md").read_text()


def stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())
    return found


def written_by(tool: str, results: tuple[dict[str, Any], ...], monkeypatch: pytest.MonkeyPatch) -> str:
    """The page that a module of benchmarks/, which are no part of the package, makes of its results."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        patch.delitem(sys.modules, tool, raising=False)  # a clone may be called as a benchmark is
        written: str = importlib.import_module(tool).page(*results)
        sys.modules.pop(tool)
    return written
