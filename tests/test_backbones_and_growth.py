"""The rows and pages of benchmarks/backbones.py and benchmarks/growth.py, on numbers of our own."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import cost_sample
import pytest
from scripts import load_script

NO_TUNING: dict[str, Any] = {"trials": [], "difference": None}


@pytest.fixture(scope="module")
def backbones() -> ModuleType:
    return load_script("backbones")


@pytest.fixture(scope="module")
def growth() -> ModuleType:
    return load_script("growth")


def row(backbones: ModuleType, tuning: dict[str, Any] = NO_TUNING) -> dict[str, Any]:
    """Return the row of a block that takes 1 ms more, with a limit of 0.1."""
    made: dict[str, Any] = backbones.row_of("resnet18+se", cost_sample.added().to_json(), tuning)
    return made


def test_the_parts_of_an_excess_add_up_to_it(backbones: ModuleType) -> None:
    found = row(backbones)
    assert found["fused_ms"] == pytest.approx(0.1)
    parts = backbones.excess(found)
    assert sum(parts.values()) == pytest.approx(1.0 - 0.1)
    assert parts["Mul"] == pytest.approx(0.4)
    assert parts["layouts"] == pytest.approx(0.5)


def test_reasons_are_the_large_parts_the_largest_first(backbones: ModuleType) -> None:
    said = backbones.reasons(row(backbones)).split("; ")
    assert said[0].startswith("0.50 ms for bringing tensors out of the layout")
    assert said[1] == "3 Mul 0.40 ms above their limit, 5.0 times"
    assert not any("Sigmoid" in reason for reason in said)


def test_a_cost_near_its_limit_needs_no_reason(backbones: ModuleType) -> None:
    assert backbones.reasons({**row(backbones), "fused_ms": 0.7}) == ""


def test_the_page_has_the_shares_the_tuning_and_what_a_block_replaces(backbones: ModuleType) -> None:
    tuned = {"trials": [], "difference": {"ms": -0.5, "low_ms": -0.6, "high_ms": -0.4}}
    rows = [row(backbones), {**row(backbones, tuned), "target": "other"}]
    text = backbones.page({"date": "2026-01-01", "rows": rows})
    first, second = (line.split(" | ") for line in text.splitlines() if line.startswith("| `"))
    assert first[1:5] == ["10.00 ms", "11.00 ms", "+1.00 ms (+0.96 to +1.03)", "+10.0%"]
    assert first[-2:] == ["10.0", "- |"]
    assert second[-1] == "-0.50 ms (-0.60 to -0.40) |"
    assert "- `other`: stands in place of Conv2d, whose cost is taken off." in text


def test_an_exponent_is_the_slope_of_the_logarithms(growth: ModuleType) -> None:
    rows = [{"size": size, "seconds": 3.0 * size**1.5} for size in (1, 10, 50)]
    assert growth.exponent(rows, "size", "seconds") == pytest.approx(1.5)


def test_growth_is_written_and_drawn(growth: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(growth, "PLOT", tmp_path / "growth.svg")

    def measured(target: str, size: float) -> dict[str, Any]:
        times = {"bare_seconds": size, "deploy_seconds": 2 * size, "deploy_ratio": 2.0}
        memory = {"bare_peak_mib": 10 * size, "deploy_peak_mib": 10 * size, "memory_ratio": 1.0}
        return {"target": target, "shape": "1x1", "parameters": size * 1e6, "nodes": 5, "pixels": size} | times | memory

    rows = [measured("a", 1.0), measured("b", 4.0)]
    document = {"date": "2026-01-01", "machine": "m", "versions": {}, "networks": rows, "images": rows}
    text = growth.page(document)
    assert "| `b` | 4.0 M | 5 | 4.0 s | 8.0 s | 2.00 | 40 MiB | 40 MiB | 1.00 |" in text
    assert "bare path grows as the 1.00th power of the parameters, ours as the 1.00th" in text
    growth.plot(document)
    assert (tmp_path / "growth.svg").read_text().count("attn2trt deploy") == 1
