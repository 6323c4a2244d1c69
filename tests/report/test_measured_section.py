"""Costs and latencies as they are drawn: beside their limits, with intervals, and with what is not here."""

from __future__ import annotations

from dataclasses import replace

import cost_sample
import page_sample
import pytest

from attn2trt.report.measured_section import cost_section, latency_section


def test_a_cost_stands_beside_the_limit_of_the_blocks_in_its_stage() -> None:
    found = cost_section(page_sample.cost())
    assert found.plain == "10.000"
    assert [row.name for row in found.rows if row.is_limit] == [
        "limit of the blocks, operator by operator",
        "limit of the blocks, fused",
    ]
    by_stage = {row.stage: row for row in found.stages}
    # two blocks of 0.02 ms; layer2 is no stage of the sample's profile
    assert (by_stage["layer1"].more, by_stage["layer1"].limit, by_stage["layer1"].times) == ("+0.750", "0.040", "19")
    assert by_stage["stem"].limit == ""
    assert [mark.kind for mark in by_stage["layer1"].bar.marks] == ["limit"]


def test_a_limit_below_a_call_of_an_empty_graph_has_no_multiple() -> None:
    document = page_sample.cost()
    slow = {**document, "rates": {**document["rates"], "call_ms": 0.041}}
    by_stage = {row.stage: row for row in cost_section(slow).stages}
    assert (by_stage["layer1"].limit, by_stage["layer1"].times) == ("0.040", "")


def test_a_block_alone_has_no_stages() -> None:
    found = cost_section(cost_sample.alone().to_json())
    assert (found.plain, found.stages) == ("", ())
    assert [row.ms for row in found.rows] == ["0.400", "0.360", "0.200", "0.100"]


def test_a_plans_cost_on_a_gpu_is_a_cost_as_well() -> None:
    found = cost_section(cost_sample.on_device().to_json())
    assert (found.plain, found.stages) == ("0.2000", ())
    assert found.where == "TensorRT 10.9.0 on A GPU, fp16, image 8x3x224x224"
    assert [(row.name, row.ms, row.interval) for row in found.rows if not row.is_limit] == [
        ("the blocks add", "0.1000", "0.0965 to 0.1035"),
        ("the whole, as a CUDA graph", "0.3000", ""),
        ("profile: all layers", "0.3540", ""),
        ("profile: the blocks' layers", "0.1000", ""),
    ]
    assert [row.ms for row in found.rows if row.is_limit] == ["0.0750", "0.0250"]
    alone = replace(cost_sample.on_device(), beside=None, blocks=())
    assert [row.ms for row in cost_section(alone.to_json()).rows] == ["0.3000", "0.3540", "0.0750"]
    with pytest.raises(KeyError):
        cost_section({**alone.to_json(), "model": {}})


def test_a_latency_has_an_interval_and_what_is_not_here_a_reason() -> None:
    found = latency_section(page_sample.benchmark())
    (row,) = found.rows
    assert (row.runtime, row.interval, row.per_second) == ("ort-cpu", "1.000 to 1.030", "1000.0")
    assert row.bar is not None
    assert row.bar.interval == (pytest.approx(97.09, abs=0.01), 100.0)
    assert found.confidence == "97%"
    assert [missing.runtimes for missing in found.missing] == ["tensorrt-fp16"]


def test_a_benchmark_in_which_nothing_ran_is_one_as_well() -> None:
    document = page_sample.benchmark()
    found = latency_section({**document, "rows": document["rows"][1:] * 2})
    assert (found.rows, len(found.missing)) == ((), 1)


def test_runtimes_that_one_reason_keeps_out_share_an_entry() -> None:
    document = page_sample.benchmark()
    (known,) = [row for row in document["rows"] if row["runtime"] == "tensorrt-fp16"]
    row = {**known, "runtime": "ort-cuda"}
    found = latency_section({**document, "rows": [*document["rows"], row, {**row, "batch": 4}]})
    assert [missing.runtimes for missing in found.missing] == ["tensorrt-fp16, ort-cuda"]
