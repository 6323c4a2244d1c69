"""The table shows every number that there is, and says of each cell without numbers why it has none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from printed_table import printed

from attn2trt.engines.timing.latency import Latency
from attn2trt.engines.timing.machine import Conditions
from attn2trt.engines.timing.method import Method
from attn2trt.engines.timing.results import Benchmark, Measurement, Row
from attn2trt.report.latency_table import latency_table, times_ours


def measured(runtime: str, batch: int, milliseconds: float) -> Row:
    latency = Latency.of([int(milliseconds * 1e6)] * 100)
    found = Measurement(
        f"{runtime} 1.0", "CPU", "float32", latency, latency, (milliseconds,), 1000 / milliseconds, 64.0, True, 8.0, 4
    )
    return Row("target", runtime, batch, "measured", measurement=found)


FOUND = Benchmark(
    target="cbam",
    bundle="",
    threads=2,
    method=Method(),
    machine={"cpu": "a processor"},
    versions={},
    sizes={1: {"x": (1, 64, 56, 56)}, 8: {"x": (8, 64, 56, 56)}},
    conditions={1: Conditions(10.0, 0.0, (None, None), None)},
    rows=(
        measured("pytorch-eager", 1, 3.0),
        measured("ort-cpu", 1, 1.5),
        Row("target", "ort-cuda", 1, "not measured", "no [driver]"),
        measured("pytorch-eager", 8, 30.0),
        Row("target", "ort-cpu", 8, "failed", "was killed"),
        Row("target", "ort-cuda", 8, "not measured", "no [driver]"),
    ),
)


def shown(found: Benchmark) -> str:
    return printed(latency_table(found))


def test_numbers_reasons_and_ratios_are_printed() -> None:
    text = shown(FOUND)
    lines = [line.split() for line in text.splitlines() if "pytorch-eager" in line]
    assert [line[-2] for line in lines] == ["2.00", "-"]
    assert "cbam, float32, 2 threads, a processor" in text
    assert text.count("no [driver]") == 1
    assert "failed: ort-cpu (target, batch 8)" in text
    assert "warning" not in text


def test_runtimes_that_one_reason_keeps_out_share_a_line() -> None:
    rows = [
        Row("target", name, batch, "not measured", "no driver")
        for name in ("ort-cuda", "ort-tensorrt")
        for batch in (1, 8)
    ]
    text = shown(replace(FOUND, rows=(*FOUND.rows[:2], FOUND.rows[3], *rows)))
    assert "not measured: ort-cuda, ort-tensorrt: no driver\n" in text.replace(" \n", "\n")
    text = shown(replace(FOUND, rows=(*FOUND.rows[:2], FOUND.rows[3], *rows[:3])))
    assert "not measured: ort-cuda, ort-tensorrt (target, batch 1): no driver" in text


def test_the_ratio_is_to_the_same_model_and_batch() -> None:
    eager, ours, cuda, large, *_ = FOUND.rows
    assert times_ours(eager, FOUND) == pytest.approx(2)
    assert times_ours(ours, FOUND) == 1
    assert times_ours(cuda, FOUND) is None
    assert times_ours(large, FOUND) is None


def test_without_a_number_there_is_no_empty_table() -> None:
    text = shown(replace(FOUND, rows=FOUND.rows[2:3]))
    assert "median ms" not in text
    assert text.startswith("cbam, 2 threads, a processor\n")
    assert "not measured: ort-cuda" in text


def test_what_a_gpu_took_by_its_own_clock_has_a_column_of_its_own() -> None:
    plan = measured("tensorrt-fp16", 1, 0.5)
    assert plan.measurement is not None
    there = replace(plan.measurement, precision="float16", on_device=Latency.of([250_000] * 10))
    text = shown(replace(FOUND, rows=(*FOUND.rows, replace(plan, measurement=there))))
    (line,) = [line for line in text.splitlines() if "tensorrt-fp16" in line]
    assert "0.250" in line
    assert "cbam, float32, float16, 2 threads" in text
    assert "on the GPU" in text
    assert "on the GPU" not in shown(FOUND)
