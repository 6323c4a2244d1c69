"""The GPU check up to the missing driver."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from attn2trt.engines.environment import Component
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


def test_rows_of_the_same_setting_are_kept(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def row(name: str, precision: str) -> dict[str, object]:
        return {"target": name, "precision": precision, "passed": (name, precision) != ("cbam", "fp16")}

    def measure(path: Path, precision: str, _options: object) -> dict[str, object]:
        asked.append((path.name, precision))
        return row(*asked[-1])

    monkeypatch.setattr(tool, "RESULTS", tmp_path / "tensorrt.json")
    monkeypatch.setattr(tool, "probe_tensorrt", lambda: Component("TensorRT", "usable", "8.6.0"))
    monkeypatch.setattr(tool, "open_bundle", lambda _: None)
    monkeypatch.setattr(tool, "measure", measure)
    for _ in range(2):
        assert tool.main(tmp_path, ["se", "cbam"], tool.Options()) == 1
    all_of_them = [(name, precision) for name in ("se", "cbam") for precision in ("fp32", "tf32", "fp16")]
    assert asked == [*all_of_them, ("cbam", "fp16")]
    assert json.loads((tmp_path / "tensorrt.json").read_text())["rows"] == [row(*one) for one in all_of_them]
    assert tool.precisions("resnet50+se") == ("fp32", "tf32", "fp16", "int8")
