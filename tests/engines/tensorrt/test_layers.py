"""Layers as TensorRT's inspector tells of them: names of nodes, types in words, and what must not pass.

The documents here are our own, in the words of TensorRT 8.x and 10.x.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from attn2trt.engines.tensorrt.layers import achieved, fullest, read_layers


def document(*layers: dict[str, Any]) -> str:
    return json.dumps({"Layers": list(layers), "Bindings": ["x", "y"]})


def layer(
    name: str, reads: str = "Row major linear FP32", kind: str = "CaskConvolution", **more: Any
) -> dict[str, Any]:
    return {"Name": name, "LayerType": kind, "Inputs": [{"Name": "x", "Format/Datatype": reads}], "Outputs": [], **more}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Row major linear FP32", {"fp32"}),
        ("Row major linear FP16 format", {"fp16"}),
        ("Channel major FP16 format where channel % 8 == 0", {"fp16"}),
        ("Thirty-two wide channel vectorized row major Int8 format", {"int8"}),
        ("Row major linear BF16", {"bf16"}),
        ("Row major linear FP8 format", {"fp8"}),
        ("Half", {"fp16"}),
        ("Float", {"fp32"}),
        ("BFloat16", {"bf16"}),
        ("Row major INT32", set()),
        ("N/A due to dynamic shapes", set()),
        ("", set()),
    ],
)
def test_a_format_is_read(words: str, expected: set[str]) -> None:
    (found,) = read_layers(document(layer("Conv_0", words)))
    assert found.computes == expected


@pytest.mark.parametrize(
    "tensor",
    [
        {"Name": "x", "Datatype": "Half", "Format": "Row major linear"},
        {"Name": "x", "DataType": "FP16", "Format": "LINEAR"},
        {"Name": "x", "Format": "Row major linear FP16 format"},
        {"Name": "x", "Datatype": "", "Format": "Channel major FP16 format where channel % 8 == 0"},
    ],
)
def test_a_type_beside_its_format_is_read(tensor: dict[str, Any]) -> None:
    """As TensorRT 11 writes it, with the engine's tensors under another key."""
    entry = {"Name": "gemm_0", "LayerType": "MatrixMultiply", "Inputs": [tensor], "Outputs": [tensor]}
    tensors = [{"Name": "x", "IOMode": "Input", "DataType": "FP16", "ProfileInfo": []}]
    (found,) = read_layers(json.dumps({"Layers": [entry], "I/O Tensors": tensors, "Engine Metadata": {}}))
    assert found.computes == {"fp16"}


def test_a_kernels_name_tells_more_than_formats_and_weights() -> None:
    layers = read_layers(
        document(
            layer("a", "N/A due to dynamic shapes", TacticName="sm80_xmma_gemm_f16f16_f16f32_f32_tn_n"),
            layer("b", "Row major linear FP16 format", TacticName="sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n"),
            layer("c", "N/A due to dynamic shapes", Weights={"Type": "Half", "Count": 9}),
        )
    )
    assert [one.computes for one in layers] == [{"fp16"}, {"tf32"}, {"fp16"}]


def test_raw_control_characters_are_read() -> None:
    about = "[ONNX Layer: node (1)]\x1e[ONNX Layer: b]"
    text = document(layer("a", Metadata=about)).replace("\\u001e", "\x1e")
    assert "\x1e" in text
    (found,) = read_layers(text)
    assert {"node (1)", "b"} <= found.names


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (layer("Conv_0 + Relu_1"), {"Conv_0", "Relu_1"}),
        (
            layer("weight + QuantizeLinear_8 + Conv_12 + PWN(Clip_16)"),
            {"weight", "QuantizeLinear_8", "Conv_12", "Clip_16"},
        ),
        (layer("PWN(PWN(/gate/Sigmoid), /Mul)"), {"/gate/Sigmoid", "/Mul"}),
        (
            layer("__myl_Conv_0", Metadata="[ONNX Layer: node_Conv_1]\x1e[ONNX Layer: node_relu]"),
            {"node_Conv_1", "node_relu"},
        ),
        (layer("gemm", Metadata="[ONNX Layer: MatMul][ONNX Layer: Relu[0]]"), {"MatMul", "Relu[0]"}),
    ],
)
def test_the_nodes_of_a_layer_are_found(entry: dict[str, Any], expected: set[str]) -> None:
    (found,) = read_layers(document(entry))
    assert expected <= found.names


NO_DOCUMENTS = ("", "[]", "{}", '{"Layers": 3}', '{"Layers": ["Conv_0"]}', '{"Layers": [{"Inputs": 1}]}', "[" * 100_000)
OVERFLOWS = '{"Layers": [{"Weights": {"Count": 1e999}}]}'


@pytest.mark.parametrize(
    "text",
    [*NO_DOCUMENTS, OVERFLOWS],
    ids=lambda text: text[:30],
)
def test_what_is_no_such_document_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|names of layers alone"):
        read_layers(text)


def test_layers_that_stayed_in_float32_are_named_and_others_count() -> None:
    nodes = frozenset({"a", "b", "c", "d"})
    layers = read_layers(
        document(
            layer("a", "Row major linear FP16 format"),
            # a mean that the policy keeps in float32 is no node of float16
            layer("mean"),
            layer("copy of b", kind="Reformat"),
            layer("b + relu"),
            layer("c", "N/A due to dynamic shapes"),
        )
    )
    found = achieved(layers, "fp16", nodes)
    assert [one.name for one in found.wrong] == ["b + relu"]
    assert (found.kept, found.unknown) == (1, 2)


def test_float32_and_tf32_are_held_to_no_less() -> None:
    layers = read_layers(
        document(
            layer("a", TacticName="sm80_xmma_gemm_f32f32_f32f32_f32"),
            layer("b", TacticName="sm80_xmma_gemm_tf32f32_tf32f32_f32"),
            layer("c", Weights={"Type": "Half", "Count": 3}),
        )
    )
    in_float32, in_tf32 = achieved(layers, "fp32", frozenset()), achieved(layers, "tf32", frozenset())
    assert ([one.name for one in in_float32.wrong], in_float32.instead) == (["b", "c"], {"tf32", "fp16"})
    assert ([one.name for one in in_tf32.wrong], in_tf32.instead) == (["c"], {"fp16"})


def test_another_low_precision_is_not_the_one_that_was_asked_for() -> None:
    layers = read_layers(document(layer("a", "Half"), layer("b", "BFloat16"), layer("c", "Int8"), layer("d", "Float")))
    found = achieved(layers, "bf16", frozenset("abcd"))
    assert [one.name for one in found.wrong] == ["a", "c", "d"]
    assert (found.kept, found.unknown, found.instead) == (1, 0, {"fp16", "int8", "fp32"})


@pytest.mark.parametrize("precision", ["int8", "int8-fp16"])
def test_eight_bits_are_the_same_whatever_the_rest_computes_in(precision: str) -> None:
    layers = read_layers(document(layer("a", "Row-major Int8"), layer("b", "Row-major FP16")))
    found = achieved(layers, precision, frozenset("ab"))
    assert (found.kept, [one.name for one in found.wrong], found.instead) == (1, ["b"], {"fp16"})


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, (0, 1, 0)),
        ({"Metadata": "[ONNX Layer: a]"}, (0, 0, 1)),
        ({"TacticName": "sm80_xmma_gemm_f16f16_f16f16_f16"}, (1, 0, 0)),
        ({"TacticName": "sm80_xmma_gemm_f32f32_f32f32_f32"}, (0, 0, 1)),
        ({"Weights": {"Type": "Float", "Count": 9}}, (0, 0, 1)),
    ],
)
def test_a_layer_that_casts_inside_is_not_judged_by_what_it_reads(
    more: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    about = "[ONNX Layer: cast_to_fp16_x]\x1e[ONNX Layer: a]"
    layers = read_layers(document(layer("__myl_CastRelu", "Float", "kgen", **{"Metadata": about, **more})))
    found = achieved(layers, "fp16", frozenset("a"), frozenset(["cast_to_fp16_x"]))
    assert (found.kept, found.unknown, len(found.wrong)) == expected


def test_the_document_that_tells_most_types_is_taken() -> None:
    open_, told = document(layer("a", "N/A due to dynamic shapes")), document(layer("a"))
    assert fullest([open_, told]) == fullest([told, open_]) == fullest(["", told, "{}"]) == told
    assert fullest(["{}", ""]) == "{}"
    assert fullest([]) == ""
    other = document(layer("b"))
    assert (fullest([told, other]), fullest([other, told])) == (told, other)
