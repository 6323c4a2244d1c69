"""The page about plans on a GPU, from results of our own: no GPU has written any yet."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from scripts import load_script


@pytest.fixture
def tool() -> ModuleType:
    return load_script("tensorrt_page")


def timed(runtime: str, on_device: float, *, model: str = "target", case: str = "se", batch: int = 8) -> dict[str, Any]:
    """A call takes ten times as long as its kernels."""
    about = {"case": case, "batch": batch, "runtime": runtime, "model": model, "status": "measured"}
    return {**about, "on_device_ms": on_device, "median_ms": 10 * on_device}


def row(case: str, precision: str = "fp16", **more: Any) -> dict[str, Any]:
    return {
        "case": case,
        "precision": precision,
        "status": "done",
        "passed": True,
        "worst_ratio": 1.25,
        "cases": 9,
        "plan": {"seconds": 61.0},
        "layers": {"kinds": {"CaskConvolution": 5, "Reformat": 3}, "kernels": {"ours_a": 1, "both": 2}},
        **more,
    }


PLAIN = row("se", layers={"kinds": {"CaskConvolution": 5}, "kernels": {"both": 2}})


def results(timing: list[dict[str, Any]], *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "date": "2026-01-01",
        "method": "in turn",
        "devices": ["NVIDIA H200"],
        "driver": "CUDA 13.0",
        "flavour": "tensorrt",
        "tensorrt": "8.6.0",
        "versions": {"pytorch": {"torch": "2.11"}},
        "without_tactics": ["cudnn"],
        "cases": {"se": {"spec": "se", "shape": "2x8x4x4"}},
        "blocks": {},
        "rows": list(rows) or [row("se")],
        "plain": [PLAIN],
        "timing": timing,
        "not_reached": {},
        **more,
    }


def line(page: str, *words: str) -> str:
    (found,) = [one for one in page.splitlines() if all(word in one for word in words)]
    return found


ALL = [
    timed("tensorrt-fp16", 2.0),
    timed("tensorrt-fp16-graph", 1.0),
    timed("tensorrt-fp16", 2.5, model="plain export"),
    timed("tensorrt-fp16-graph", 1.5, model="plain export"),
    timed("pytorch-cuda-fp16", 4.0),
    timed("pytorch-cuda-fp16-graph", 3.0),
    timed("pytorch-cuda-compile-fp16", 3.5),
    timed("pytorch-cuda-compile-fp16-graph", 1.25),
]


def test_a_case_is_held_against_the_fastest_of_the_others_by_each_clock(tool: ModuleType) -> None:
    page = tool.page(results(ALL))
    assert "NVIDIA H200, driver CUDA 13.0, TensorRT 8.6.0, PyTorch 2.11." in page
    assert "Method: in turn." in page
    assert line(page, "`se`", "passed") == "| `se` | fp16 | passed | 1.2 | 9 | 8 | 3 | 61 |"
    on_device = "2.000 | 1.000 | 2.500 | 1.500 | 4.000 | 3.000 | 3.500 | 1.250"
    assert line(page, "`se`", "| 2.000 |") == f"| `se` | fp16 | 8 | {on_device} | 1.25 |"
    assert line(page, "`se`", "| 20.000 |").endswith("| 35.000 | 12.500 | 1.25 |")
    assert line(page, "| fp16 | 8 | 1.25") == "| fp16 | 8 | 1.25 | 1.25 |"
    assert "Nothing else is faster by 5 % on the device." in page


def test_the_note_on_kernels_that_were_not_there_stands_above_every_table_of_numbers(tool: ModuleType) -> None:
    page = tool.page(results(ALL))
    note = "Without kernels of cudnn: a plan that may use them can be faster.\n\n"
    assert page.count(note) == 3
    assert page.count(f"{note}| case |") == 3
    assert "Without kernels" not in tool.page(results(ALL, without_tactics=[]))


def test_what_the_gpu_did_not_time_is_no_device_time(tool: ModuleType) -> None:
    page = tool.page(results([{**timed("tensorrt-fp16", 2.0), "on_device_ms": None}]))
    assert line(page, "`se`", "| 20.000 |")
    assert "| 2.000 |" not in page


def test_float16_of_pytorch_is_beside_float16_alone(tool: ModuleType) -> None:
    timing = [timed("tensorrt", 2.0), timed("pytorch-cuda-fp16", 0.1), timed("pytorch-cuda", 0.1)]
    page = tool.page(results(timing, row("se", "fp32"), row("se")))
    assert line(page, "`se`", "fp32", "| 2.000 |") == f"| `se` | fp32 | 8 | 2.000 |{' - |' * 8}"
    assert line(page, "`se`", "fp16", "| 0.100 |") == f"| `se` | fp16 | 8 |{' - |' * 4} 0.100 |{' - |' * 4}"


def test_times_of_a_plan_that_did_not_pass_have_a_star(tool: ModuleType) -> None:
    failed = row("se", passed=False, why="tensorrt fp16, layers: failed a|b")
    page = tool.page(results(ALL, failed))
    assert r"| failed: tensorrt fp16, layers: failed a\|b |" in line(page, "`se`", "failed")
    assert line(page, "`se`", "| 2.000 |").startswith("| `se` | fp16 * | 8 |")


def test_where_the_plain_plan_is_faster_the_layers_say_why(tool: ModuleType) -> None:
    timing = [timed("tensorrt-fp16", 2.0), timed("tensorrt-fp16", 1.0, model="plain export")]
    assert line(tool.page(results(timing)), "plain is faster") == (
        "- `se` in fp16 at batch 8: plain is faster (0.50); our plan has 8 layers, 3 of them reformats, that one has 5 "
        "layers, 0 of them reformats; kernels that it does without: ours_a."
    )


def test_what_was_not_timed_or_reached_is_listed_with_the_reason(tool: ModuleType) -> None:
    wrong = {**timed("tensorrt-fp16", 0.0, model="plain export"), "status": "wrong", "why": "output: 9 times too far"}
    refused = {**PLAIN, "case": "gam", "status": "failed", "why": "no kernel"}
    left = {"build-a-fp16": "no time", "build-b-fp16": "no time", "time-c-8": "build-c: refused"}
    page = tool.page(results([*ALL[:2], wrong], plain=[refused], not_reached=left))
    assert "- `se`, tensorrt-fp16 of the plain export at batch 8: wrong: output: 9 times too far" in page
    assert "- `gam`, plain export in fp16: no kernel" in page
    assert "- no time: `build-a-fp16`, `build-b-fp16`" in page
    assert "- build-c: refused: `time-c-8`" in page


def test_a_plan_that_was_refused_is_in_the_table(tool: ModuleType) -> None:
    failed = {"case": "psa", "precision": "fp16", "status": "failed", "why": "a|b"}
    assert line(tool.page(results(ALL, failed)), "`psa`") == r"| `psa` | fp16 | failed: a\|b | - | - | - | - | - |"


def test_a_block_costs_what_it_must_move_or_more(tool: ModuleType) -> None:
    timing = [timed("tensorrt-fp16", 1.0, case="resnet50"), timed("tensorrt-fp16", 1.2, case="resnet50+se")]
    blocks = [{"block": "se 1x2x4x4", "places": 3, "map_numbers": 1000, "weight_numbers": 0}]
    page = tool.page(
        results(
            timing,
            row("resnet50"),
            row("resnet50+se"),
            cases={name: {"spec": name, "shape": ""} for name in ("resnet50", "resnet50+se")},
            blocks={"resnet50+se": blocks},
            bytes_per_s=4e8,
        )
    )
    # 3 places, 8 images, 1000 numbers of 2 bytes at 0.4 GB/s
    expected = "| `resnet50+se` | fp16 | 8 | 1.000 | 1.200 | 0.200 | 0.120 | 1.7 * |"
    assert line(page, "`resnet50+se`", "| 1.000 | 1.200") == expected
    assert "at 0 GB/s" in page
