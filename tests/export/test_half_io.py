"""A half-precision graph whose inputs and outputs are float16: no cast at its border, and that any change is found."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from small_graph import graph_file, small_model

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.precision import FP16
from attn2trt.errors import CheckFailed
from attn2trt.export.contract import check_contract
from attn2trt.export.precision import LowPrecisionGraph, lower
from attn2trt.export.precision_check import check_precision
from attn2trt.export.precision_options import PrecisionOptions

HALF, FLOAT, IDS = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.INT64


def graph_of(folder: Path, nodes: list[onnx.NodeProto], outputs: list[str]) -> OnnxGraph:
    """A graph of a float input x and an integer input ids."""
    sizes = ["batch", 4, 8, 8]
    model = small_model(nodes, {"x": sizes, "ids": ["batch"]}, dict.fromkeys(outputs, sizes), types={"ids": IDS})
    return graph_file(model, folder / "model.onnx")


def gathered(folder: Path) -> OnnxGraph:
    """y is half precision's own, z is a float32 operator's."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("Gather", ["r", "ids"], ["y"], name="rows"),
        helper.make_node("Softmax", ["r"], ["z"], name="softmax", axis=1),
    ]
    return graph_of(folder, nodes, ["y", "z"])


def edited(low: LowPrecisionGraph, change: object) -> Path:
    model = onnx.load(str(low.graph.path))
    change(model.graph)  # type: ignore[operator]
    onnx.save(model, str(low.graph.path))
    return low.graph.path


def types(graph: OnnxGraph) -> dict[str, int]:
    found = onnx.load(str(graph.path)).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*found.input, *found.output)}


def test_there_is_no_cast_at_the_border_and_integers_stay(tmp_path: Path) -> None:
    source = gathered(tmp_path)
    low = lower(source, FP16, tmp_path, PrecisionOptions(io="float16"))
    assert types(low.graph) == {"x": HALF, "ids": IDS, "y": HALF, "z": HALF}
    assert [spec.dtype for spec in low.graph.inputs] == ["float16", "int64"]
    assert low.to_json()["inputs_and_outputs"] == low.graph.io == "float16"
    casts = [node for node in onnx.load(str(low.graph.path)).graph.node if node.op_type == "Cast"]
    # before the operator that stays in float32, and after it for the output
    assert [(node.input[0], node.output[0]) for node in casts] == [("r", "r_fp32"), ("z_fp32", "z")]


def test_float32_stays_the_default(tmp_path: Path) -> None:
    low = lower(gathered(tmp_path), FP16, tmp_path)
    assert types(low.graph) == {"x": FLOAT, "ids": IDS, "y": FLOAT, "z": FLOAT}
    assert low.to_json()["inputs_and_outputs"] == "float32"


def hide_casts(graph: onnx.GraphProto) -> None:
    """Widen the whole input and narrow it again: the same numbers, and two passes over memory."""
    first = next(node for node in graph.node if node.name == "relu")
    first.input[0] = "x_back"
    graph.node.insert(0, helper.make_node("Cast", ["x"], ["x_wide"], name="cast_to_fp32_x", to=FLOAT))
    graph.node.insert(1, helper.make_node("Cast", ["x_wide"], ["x_back"], name="cast_to_fp16_x", to=HALF))


def shorten(graph: onnx.GraphProto) -> None:
    """Round the output to bfloat16 on its way."""
    last = next(node for node in graph.node if node.name == "cast_to_fp16_z")
    last.input[0] = "z_short"
    short = helper.make_node("Cast", ["z_fp32"], ["z_short"], name="cast_to_bf16_z", to=TensorProto.BFLOAT16)
    graph.node.insert(len(graph.node) - 1, short)


def widen(graph: onnx.GraphProto) -> None:
    """Compute the first operator in float32 between two casts."""
    first = next(node for node in graph.node if node.name == "relu")
    first.input[0], first.output[0] = "x_wide", "r_wide"
    graph.node.insert(0, helper.make_node("Cast", ["x"], ["x_wide"], name="cast_to_fp32_x", to=FLOAT))
    graph.node.insert(2, helper.make_node("Cast", ["r_wide"], ["r"], name="cast_to_fp16_r", to=HALF))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (hide_casts, r"cast_to_fp16_x casts what cast_to_fp32_x cast before"),
        (shorten, r"cast_to_bf16_z casts to bfloat16"),
        (widen, r"Relu \(node relu\) has x_wide in float, the policy wants float16"),
    ],
)
def test_a_hidden_cast_is_found(tmp_path: Path, change: object, words: str) -> None:
    source = gathered(tmp_path)
    low = lower(source, FP16, tmp_path, PrecisionOptions(io="float16"))
    float32 = onnx.load(str(source.path))
    check_precision(float32, low.graph.path, frozenset(low.lowered), FP16)
    with pytest.raises(CheckFailed, match=words):
        check_precision(float32, edited(low, change), frozenset(low.lowered), FP16)


@pytest.mark.parametrize("name", ["x", "y"])
def test_another_type_at_the_border_breaks_the_contract(tmp_path: Path, name: str) -> None:
    low = lower(gathered(tmp_path), FP16, tmp_path)  # in float32
    asked = lower(gathered(tmp_path), FP16, tmp_path, PrecisionOptions(io="float16")).graph
    wrong = {"inputs": low.graph.inputs if name == "x" else asked.inputs}
    wrong["outputs"] = low.graph.outputs if name == "y" else asked.outputs
    with pytest.raises(CheckFailed, match=rf"{name}: float16.* was asked for as {name}: float32"):
        check_contract(asked, opset=17, after="the cast", **wrong)
