"""The sizes and types of layers' tensors, in the words of every version's inspector."""

from __future__ import annotations

import json
from typing import Any

import pytest

from attn2trt.engines.tensorrt.layer_tensors import element_bytes, read_tensor, short_form
from attn2trt.engines.tensorrt.layers import read_layers


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Row major linear FP32", 4),
        ("Row major linear FP16 format", 2),
        ("Channel major FP16 format where channel % 8 == 0", 2),
        ("Thirty-two wide channel vectorized row major Int8 format", 1),
        ("Four wide channel vectorized row major INT8 format", 1),
        ("Row major INT32", 4),
        ("Row major linear BOOL", 1),
        ("Int64", 8),
        ("BF16", 2),
        ("FP8", 1),
        ("FP4E2M1", 0.5),
        ("Half", 2),
        ("kHALF", 2),
        ("Float", 4),
        ("Row major linear", None),
        ("", None),
    ],
)
def test_the_bytes_of_an_element_are_in_its_type(words: str, expected: float | None) -> None:
    assert element_bytes(words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Row major linear FP32", "fp32 linear"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16 hwc8"),
        ("Channel major FP16 format", "fp16 hwc"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8 chw32"),
        ("Two wide channel vectorized row major FP16 format", "fp16 chw2"),
        ("Half, Row major linear", "half linear"),
        ("FP16, LINEAR", "fp16"),
        ("odd words", "odd words"),
        ("", ""),
    ],
)
def test_a_format_is_written_briefly(words: str, expected: str) -> None:
    assert short_form(words) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"Name": "x", "Dimensions": [2, 3, 4], "Format/Datatype": "Row major linear FP16 format"}, 48),
        ({"Name": "x", "Dimensions": [2, 3, 4], "Datatype": "Half", "Format": "Row major linear"}, 48),
        ({"Name": "x", "Dimensions": [2, 3], "DataType": "FP4E2M1", "Format": "LINEAR"}, 3),
        ({"Name": "x", "Dimensions": [], "Format/Datatype": "Row major linear FP32"}, 4),
        ({"Name": "x", "Dimensions": [-1, 3, 4], "Format/Datatype": "Row major linear FP16 format"}, None),
        ({"Name": "x", "Dimensions": [2, 3, 4], "Format/Datatype": "N/A due to dynamic shapes"}, None),
        ({"Name": "x", "Format/Datatype": "Row major linear FP16 format"}, None),
    ],
)
def test_a_tensor_has_its_bytes_or_none(entry: dict[str, Any], expected: int | None) -> None:
    found = read_tensor(entry)
    assert found.name == "x"
    assert found.bytes == expected


def test_a_type_that_is_left_open_is_no_type() -> None:
    assert read_tensor({"Name": "x", "Dimensions": [1], "Format/Datatype": "N/A due to dynamic shapes"}).form == ""


def test_a_layer_has_its_tensors_and_the_bytes_of_its_weights() -> None:
    tensor = {"Dimensions": [1, 8], "Format/Datatype": "Row major linear FP16 format"}
    entry = {
        "Name": "conv",
        "Inputs": [{"Name": "x", **tensor}],
        "Outputs": [{"Name": "y", **tensor}],
        "Weights": {"Type": "Half", "Count": 64},
        "Bias": {"Type": "Float", "Count": 8},
    }
    (found,) = read_layers(json.dumps({"Layers": [entry]}))
    assert [one.name for one in (*found.reads, *found.writes)] == ["x", "y"]
    assert found.weight_bytes == 2 * 64 + 4 * 8
    (unknown,) = read_layers(json.dumps({"Layers": [{**entry, "Weights": {"Type": "Odd", "Count": 3}}]}))
    assert unknown.weight_bytes is None
