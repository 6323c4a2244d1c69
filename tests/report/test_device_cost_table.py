"""The numbers of a cost on a GPU, and what makes them doubtful, are in its tables."""

from __future__ import annotations

import json
from dataclasses import replace

import cost_sample
import pytest
from printed_table import printed, row

from attn2trt.engines.timing.device_costs import DeviceCost
from attn2trt.engines.timing.machine import Conditions
from attn2trt.report.device_cost_table import FEW, device_cost_table


def shown(found: DeviceCost) -> str:
    return printed(device_cost_table(found), 250)


def test_plans_stand_beside_what_their_bytes_take() -> None:
    text = shown(cost_sample.on_device())
    assert "resnet18+se, image 8x3x224x224, fp16, TensorRT 10.9.0 on A GPU" in text
    assert row(text, "resnet18+se")[1:] == ["0.3000", "0.2700", "0.3000", "0.0%", "120", "75.000", "0.0750", "4.00"]
    assert row(text, "resnet18")[1:3] == ["0.2000", "0.1800"]
    assert "The block costs +0.1000 ms, +50.0% of the plain backbone, between +0.0965 and +0.1035" in text
    assert "Its limit is 0.0250 ms: 4.00 times as long." in text
    assert "copies move 1000 GB/s; a CUDA graph that copies four bytes takes 0.0020 ms" in text
    # three of 400 kB, and the cast, of which nothing is known
    assert "layers move 1.200 MB, without 1 whose bytes are unknown: 0.0012 ms at that bandwidth" in text
    assert "warning" not in text


def test_blocks_stages_and_layers_have_their_share() -> None:
    text = shown(cost_sample.on_device())
    assert row(text, r"layer1.0.se (se)")[1:] == ["0.1000", "0.0500", "25.000", "0.0250", "4.00"]
    assert row(text, "layer1") == ["layer1", "0.2000", "0.3500", "+0.1500", "0.1000", "+0.0000", "+0.0500"]
    # its bytes take less than a launch: no multiple of them
    conv = ["CaskConvolution", "fp16", "a_kernel", "layer1.0", "0.2000", "56.5%", "0.400", "0.0004", "-"]
    assert row(text, "node_conv")[1:] == conv
    assert row(text, r"PWN(node_mul)")[4:7] == ["layer1.0.se +1", "0.1000", "28.2%"]
    assert row(text, "node_mul + node_add")[4:] == ["layer1.0.se +1 *", "0.0500", "14.1%", "~0.400", "0.0004", "-"]
    assert row(text, "cast")[4:] == ["-", "0.0040", "1.1%", "-", "-", "-"]
    assert "reshape" not in text
    assert "no time of 1 of 5 layers" in text
    assert "0.3540 ms of resnet18+se, 1.18 times the whole" in text


def test_a_block_whose_bytes_take_less_than_a_launch_has_no_multiple_of_them() -> None:
    found = cost_sample.on_device()
    small = replace(found, blocks=(replace(found.blocks[0], least_bytes=1_000),))
    text = shown(small)
    assert row(text, r"layer1.0.se (se)")[1:] == ["0.1000", "0.0500", "0.001", "0.0000", "-"]
    assert "Its limit is 0.0000 ms: a launch alone takes longer." in text
    assert text.count("- if a launch alone takes longer than the bytes") == 1


def test_formats_are_a_column_if_they_are_known() -> None:
    found = cost_sample.on_device()
    assert "┃ formats" not in shown(found)
    half = "Channel major FP16 format where channel % 8 == 0"
    known = cost_sample.layer("conv", 0.2, reads=("Row major linear FP32", half, half), writes=(half,))
    text = shown(replace(found, model=replace(found.model, layers=(known, cost_sample.layer("copy", 0.1)))))
    assert row(text, "conv")[3] == "fp32 linear fp16 hwc8 > fp16 hwc8"
    assert row(text, "copy")[3] == "-"


def test_a_layer_without_time_is_not_shown() -> None:
    """TensorRT 8.6 reports 0 ms of some layers that do nothing, and nothing of others."""
    found = cost_sample.on_device()
    nothing = cost_sample.layer("another view", 0.0, kind="NoOp")
    text = shown(replace(found, model=replace(found.model, layers=(*found.model.layers, nothing))))
    assert "another view" not in text
    assert "no time of 2 of 6 layers" in text


def test_of_a_network_those_of_blocks_and_long_ones_are_shown() -> None:
    found = cost_sample.on_device()
    many = tuple(cost_sample.layer(f"short {place}", 0.001) for place in range(FEW))
    text = shown(replace(found, model=replace(found.model, layers=(*found.model.layers, *many))))
    assert row(text, "node_conv")
    assert row(text, r"PWN(node_mul)")
    assert row(text, "41 more")[5] == "0.0440"
    assert "short" not in text


def test_a_block_alone_has_no_difference() -> None:
    found = replace(cost_sample.on_device(), target="se", beside=None, blocks=())
    text = shown(found)
    assert "The block costs" not in text
    assert "stage" not in text
    # of a network its stages, and what belongs to none
    assert row(text, "layer1")[1:] == ["0.3500", "98.9%", "0.1000"]
    assert row(text, "no module")[1:] == ["0.0040", "1.1%", "0.0000"]
    layers = (
        cost_sample.layer("a", 0.1, "block", modules=("",)),
        cost_sample.layer("b", 0.3, "block", modules=("fc",)),
    )
    text = shown(replace(found, model=replace(found.model, layers=(*layers, *layers[1:]))))
    assert row(text, r"(itself)")[1:4] == ["0.1000", "14.3%", "0.1000"]
    assert row(text, "fc")[1:4] == ["0.6000", "85.7%", "0.6000"]
    document = json.loads(json.dumps(found.to_json()))
    assert (document["beside"], document["blocks"], document["blocks_least_ms"]) == (None, [], None)


def test_the_document_is_json_and_holds_the_limits() -> None:
    document = json.loads(json.dumps(cost_sample.on_device().to_json()))
    assert document["model"]["least_ms"] == pytest.approx(0.075)
    assert (document["model"]["moved_bytes"], document["model"]["uncounted"]) == (1_200_000, 1)
    assert document["model"]["layers"][0]["least_ms"] == pytest.approx(0.0004)
    assert document["model"]["layers"][3]["least_ms"] is None
    assert sum(layer["share"] for layer in document["model"]["layers"]) == pytest.approx(1)
    assert document["blocks_least_ms"] == pytest.approx(0.025)
    assert document["beside"]["difference"]["rounds"] == cost_sample.ROUNDS
    assert document["beside"]["plain"]["layers_ms"] == pytest.approx(0.2)
    assert document["warnings"] == []


def test_a_difference_that_may_be_nothing_is_called_so() -> None:
    found = cost_sample.on_device()
    assert found.beside is not None
    text = shown(replace(found, beside=replace(found.beside, difference=cost_sample.difference(0.0, 1.0))))
    assert "it may be nothing." in text
    assert "Its limit" not in text


def test_what_is_doubtful_is_a_warning() -> None:
    found = cost_sample.on_device()
    unsteady = replace(found.model.timing, latency=cost_sample.Latency.of([1, 9]))
    unlisted = (*found.model.layers, cost_sample.layer("unlisted", 0.1, kind=""))
    for change, words in (
        (replace(found, conditions=Conditions(1.0, 1.2, (None, None), 0)), "1.2 cores were busy"),
        (replace(found, model=replace(found.model, timing=unsteady)), "varies by more than 2.5 %: resnet18+se"),
        (replace(found, model=replace(found.model, layers=unlisted)), "0.1000 ms of resnet18+se are in layers"),
    ):
        assert f"warning: {words}" in shown(change) or words in shown(change)


def test_a_size_that_is_unknown_is_no_number() -> None:
    found = cost_sample.on_device()
    (block,) = found.blocks
    unknown = replace(found, blocks=(block, replace(block, path="layer2.0.se", least_bytes=None)))
    assert unknown.blocks_least_ms is None
    assert row(shown(unknown), "all 2")[1:] == ["0.2000", "0.1000", "-", "-", "-"]
