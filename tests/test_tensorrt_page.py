"""The page about plans on a GPU, from results of our own: no GPU has written any yet."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOLS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("tensorrt_page")


def timing(runtime: str, **milliseconds: float) -> list[dict[str, Any]]:
    """Our plan and the plain export's, at batch 8; without milliseconds the reason why not."""
    found = []
    for model, key in (("target", "ours"), ("plain export", "plain")):
        entry: dict[str, Any] = {"runtime": runtime, "model": model, "batch": 8}
        if key in milliseconds:
            found.append({**entry, "status": "measured", "median_ms": milliseconds[key]})
        else:
            found.append({**entry, "status": "wrong", "why": "output: 9 times too far"})
    return found


def row(target: str, precision: str, times: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "target": target,
        "precision": precision,
        "passed": True,
        "worst_ratio": 1.25,
        "cases": 9,
        "plan": {"seconds": 61.0},
        "layers": {"kinds": {"CaskConvolution": 5, "Reformat": 3}, "kernels": {"ours_a": 1, "both": 2}},
        "plain_layers": {"kinds": {"CaskConvolution": 5}, "kernels": {"both": 2}},
        "timing": times,
    }


def told(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "date": "2026-01-01",
        "devices": ["NVIDIA H200"],
        "driver": "CUDA 13.0",
        "tensorrt": "8.6.0",
        "without_tactics": ["cudnn"],
        "rows": list(rows),
        **more,
    }


def line(page: str, *words: str) -> str:
    (found,) = [one for one in page.splitlines() if all(word in one for word in words)]
    return found


def test_a_row_is_held_against_the_best_of_the_others(tool: ModuleType) -> None:
    half = [{"runtime": "pytorch-cuda-fp16", "model": "target", "batch": 8, "median_ms": 3.0}]
    plan = row("se", "fp16", timing("tensorrt-fp16", ours=2.0, plain=2.5))
    page = tool.page(told(plan, baselines=[{"target": "se", "timing": half}]))
    assert "NVIDIA H200" in page
    assert "Kernels of cudnn were not there" in page
    assert line(page, "`se`", "passed") == "| `se` | fp16 | passed | 1.2 | 9 | 8 | 3 | 61 |"
    assert line(page, "`se`", "| 8 | 2.000") == "| `se` | fp16 | 8 | 2.000 | - | 2.500 | - | 3.000 | - | 1.25 |"
    assert line(page, "| fp16 | 8 | 1.25") == "| fp16 | 8 | 1.25 | 1.25 |"
    assert "Nowhere another is faster by 5 %." in page


def test_the_faster_of_kernels_and_graph_is_ours(tool: ModuleType) -> None:
    plan = row("se", "fp32", timing("tensorrt", ours=2.0, plain=2.0) + timing("tensorrt-graph", ours=1.0, plain=1.5))
    assert line(tool.page(told(plan)), "`se`", "| 8 | 2.000").endswith(
        "| 2.000 | 1.000 | 2.000 | 1.500 | - | - | 1.50 |"
    )


def test_float16_of_pytorch_is_beside_float16_alone(tool: ModuleType) -> None:
    half = [{"runtime": "pytorch-cuda-fp16", "model": "target", "batch": 8, "median_ms": 0.1}]
    plan = row("se", "fp32", timing("tensorrt", ours=2.0, plain=2.5))
    page = tool.page(told(plan, baselines=[{"target": "se", "timing": half}]))
    assert line(page, "`se`", "| 8 | 2.000").endswith("| - | - | 1.25 |")


def test_where_the_plain_plan_is_faster_the_layers_say_why(tool: ModuleType) -> None:
    page = tool.page(told(row("se", "tf32", timing("tensorrt-tf32", ours=2.0, plain=1.0))))
    assert line(page, "plain is faster") == (
        "- `se` in tf32 at batch 8: plain is faster (0.50); our plan has 8 layers, 3 of them reformats, that one has 5 "
        "layers, 0 of them reformats; kernels that it does without: ours_a."
    )


def test_a_plain_export_that_is_wrong_is_told_and_no_number(tool: ModuleType) -> None:
    page = tool.page(told(row("se", "fp16", timing("tensorrt-fp16", ours=2.0))))
    assert line(page, "- `se` in fp16: wrong") == "- `se` in fp16: wrong: output: 9 times too far"
    assert line(page, "`se`", "| 8 | 2.000").endswith("| - | - | - | - | - |")


def test_a_plan_that_failed_is_in_the_table(tool: ModuleType) -> None:
    failed = {"target": "psa", "precision": "fp16", "passed": False, "why": "a|b"}
    assert line(tool.page(told(failed)), "`psa`") == r"| `psa` | fp16 | failed: a\|b | - | - | - | - | - |"


def test_a_block_costs_what_it_must_move_or_more(tool: ModuleType) -> None:
    bare = row("resnet50", "fp16", timing("tensorrt-fp16", ours=1.0, plain=1.0))
    with_block = row("resnet50+se", "fp16", timing("tensorrt-fp16", ours=1.2, plain=1.3))
    blocks = [{"block": "se 1x2x4x4", "places": 3, "map_numbers": 1000, "weight_numbers": 0}]
    page = tool.page(told(bare, with_block, blocks={"resnet50+se": blocks}, bytes_per_s=4e8))
    # 3 places, 8 images, 1000 numbers of 2 bytes at 0.4 GB/s
    expected = "| `resnet50+se` | fp16 | 8 | 1.000 | 1.200 | 0.200 | 0.120 | 1.7 * |"
    assert line(page, "`resnet50+se`", "| 1.000 | 1.200") == expected
    assert "at 0 GB/s" in page
