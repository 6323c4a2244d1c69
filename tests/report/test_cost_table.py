"""The numbers of a cost, and what makes them doubtful, are in its tables."""

from __future__ import annotations

import json
from dataclasses import replace

import cost_sample
import pytest
from printed_table import printed, row

from attn2trt.engines.timing.costs import Cost
from attn2trt.engines.timing.machine import Conditions
from attn2trt.engines.timing.stage_costs import KindCost
from attn2trt.report.cost_summary import summary
from attn2trt.report.cost_table import cost_table


def shown(found: Cost) -> str:
    return printed(cost_table(found))


def test_a_block_alone_stands_beside_its_limits() -> None:
    text = shown(cost_sample.alone())
    assert row(text, "measured, inputs in turn")[1:] == ["0.4000", "4.0"]
    assert row(text, "measured, the same input")[1:] == ["0.3600", "3.6"]
    assert row(text, "limit, operators")[1:] == ["0.2000", "2.0"]
    assert row(text, "limit, fused")[1:] == ["0.1000", "1.0"]
    assert "50.0 GB/s over 0.524 MB, 10.0 GB/s over 134 MB; 50.0 GFLOP/s" in text
    assert "warning" not in text
    assert "plain backbone" not in text


def test_a_block_in_a_backbone_is_reported_in_sum_by_stage_and_by_shape() -> None:
    text = shown(cost_sample.added())
    assert row(text, "more")[6:] == ["+10.0%", "+0.0%", "+10.0%"]
    assert row(text, "measured difference")[1:] == ["1.0000", "10.00%", "10.0"]
    assert row(text, "the backbone against itself")[1:] == ["0.0000", "0.00%", "-"]
    # on the same input, each less an empty call: twice 0.099 - 0.01, and 0.189 - 0.01
    assert row(text, "3 blocks alone")[1:] == ["0.3570", "3.57%", "3.6"]
    assert row(text, "limit of 3 blocks, operators")[1] == "0.2000"
    assert row(text, "limit of 3 blocks, fused")[1:] == ["0.1000", "1.00%", "1.0"]
    assert row(text, "layer1") == ["layer1", "8.000", "8.750", "+0.750", "0.750", "+0.500", "-0.500"]
    assert row(text, "all")[1:4] == ["10.000", "10.750", "+0.750"]
    assert row(text, "Mul") == ["Mul", "3", "0.500", "0.1000", "5.0"]
    assert row(text, "Sigmoid") == ["Sigmoid", "fused", "0.000", "0.0100", "-"]
    assert row(text, "se 1x64x28x28")[:3] == ["se 1x64x28x28", "2", "0.1100"]
    assert "between +0.9650 and +1.0350 with 96% confidence, from 12 rounds." in text
    assert "1.10 times as long as without, one of the target 1.20 times" in text
    assert "se replaces a Conv2d of the plain backbone" in text


def test_what_is_too_small_to_be_measured_has_no_multiple_and_the_reason_stands_once() -> None:
    found = cost_sample.added()
    assert found.added is not None
    assert "is - " not in shown(found)
    # four operators in 3.9 microseconds: less than one each
    kinds = tuple(KindCost(name, 4, 0.5, limit) for name, limit in (("Mul", 0.004), ("Conv", 0.0039), ("Add", 1e-7)))
    small = replace(found, added=replace(found.added, profile=replace(found.added.profile, kinds=kinds)))
    text = shown(small)
    assert [row(text, name)[-1] for name in ("Mul", "Conv", "Add")] == ["125.0", "-", "-"]
    assert text.count("'x limit' is - for operators whose limit is below a microsecond each") == 1
    assert "x fused limit' is -" not in text


def test_a_limit_below_a_call_of_an_empty_graph_has_no_multiple() -> None:
    found = cost_sample.alone()
    text = shown(replace(found, model=cost_sample.model("target", 0.02, 0.0099, 0.0099)))
    assert row(text, "measured, inputs in turn")[1:] == ["0.0200", "-"]
    assert text.count("'x fused limit' is - because that limit is below a call of an empty graph") == 1


def test_a_difference_that_may_be_nothing_is_called_so() -> None:
    found = cost_sample.added()
    assert "it may be nothing" not in shown(found)
    doubtful = replace(found, added=replace(found.added, difference=cost_sample.difference(0.0, 1.0)))
    assert "with 96% confidence, from 12 rounds; it may be nothing." in shown(doubtful)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cost: replace(cost, conditions=Conditions(1.0, 1.2, (None, None), 0)), "1.2 cores were busy"),
        (lambda cost: replace(cost, model=replace(cost.model, uncounted=("loop",))), "lack those of 1 nodes: loop"),
        (
            lambda cost: replace(cost, added=replace(cost.added, control=cost_sample.difference(0.5, 0.01))),
            "the plain backbone differs from itself by +0.500 ms",
        ),
        (
            lambda cost: replace(
                cost,
                model=replace(cost.model, timing=replace(cost.model.timing, latency=cost_sample.Latency.of([1, 9]))),
            ),
            "the latency varies by more than 2.5 %: target",
        ),
    ],
)
def test_what_is_doubtful_is_a_warning(change: object, words: str) -> None:
    assert callable(change)
    assert words in shown(change(cost_sample.added()))


def test_the_sum_ends_with_the_least_and_tells_measured_from_limit() -> None:
    for found in (cost_sample.alone(), cost_sample.added()):
        lines = summary(found)
        assert [line.measured for line in lines] == sorted((line.measured for line in lines), reverse=True)
        assert sum(not line.measured for line in lines) == 2


def test_the_document_is_json_and_holds_the_sums() -> None:
    document = json.loads(json.dumps(cost_sample.added().to_json()))
    assert document["added"]["difference"]["rounds"] == 12
    assert document["added"]["blocks_alone_ms"] == pytest.approx(0.357)
    assert document["added"]["blocks_least_ms"] == pytest.approx(0.1)
    assert document["added"]["profile"]["stages"][1]["block_ms"] == 0.75
    assert document["rates"]["call_ms"] == pytest.approx(0.01)
    assert json.loads(json.dumps(cost_sample.alone().to_json()))["added"] is None
