"""The counts of docs/int8.md: what is read off a builder's log, and what crosses between the kernels of a graph."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scripts import load_script
from small_graph import small_model

ROOT = Path(__file__).parents[1]
HALF, FLOAT, INT8 = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.INT8
END = "TacticName: t, StreamId: 0, Metadata: [ONNX Layer: a]"


def tensor(name: str, sizes: str, dtype: str) -> str:
    rest = f"Strides: [1], StrideOrder: [0], Datatype: {dtype}, Format: (NHWC) Channel major format"
    return f"{{ Name: {name}, Dimensions: [{sizes}], {rest} }}"


LOG = "\n".join(
    [
        "INFO: Layers:",
        f"Name: __myl_MulMinMaxRounCast_myl0_1, LayerType: kgen, Inputs: [ {tensor('x', '-1,4,8,8', 'Half')}], "
        f"Constants: [ {tensor('c', '1', 'Float')}], Outputs: [ {tensor('q', '-1,4,8,8', 'Int8')}], {END}",
        f"Name: conv_myl0_2, LayerType: correlation, Inputs: [ {tensor('q', '-1,4,8,8', 'Int8')}], "
        f"Constants: [ {tensor('w', '4,4,3,3', 'Int8')}], Outputs: [ {tensor('y', '-1,4,8,8', 'Float')}], {END}",
        f"Name: __myl_MulAddReluCast_myl0_3, LayerType: kgen, Inputs: [ {tensor('y', '-1,4,8,8', 'Float')}, "
        f"{tensor('y', '-1,4,8,8', 'Float')}], Constants: [], Outputs: [ {tensor('z', '-1,4,8,8', 'Half')}], {END}",
    ]
)


@pytest.fixture
def counts() -> ModuleType:
    return load_script("int8_placement")


def test_layers_and_bytes_are_read_off_the_log(counts: ModuleType) -> None:
    first, second, third = counts.layers_of(LOG)
    assert [layer.kind for layer in (first, second, third)] == ["kgen", "correlation", "kgen"]
    assert [layer.only_converts for layer in (first, second, third)] == [True, False, False]
    assert second.is_int8_convolution
    assert second.writes_32_bits
    assert not first.writes_32_bits
    pixels = 4 * 8 * 8
    # a tensor that a layer reads twice comes from memory once; constants are left out
    assert counts.crossing([first, second, third]) == {"16": 2 * pixels * 2, "8": 2 * pixels, "32": 2 * pixels * 4}


def graph_of(folder: Path, nodes: list[onnx.NodeProto], dtype: int) -> Path:
    sizes, number = ["batch", 4, 8, 8], helper.tensor_dtype_to_np_dtype(dtype)
    weights = {"w": np.ones((4, 4, 1, 1), number), "s": np.array(0.5, number), "z": np.array(0, np.int8)}
    types = {"x": dtype, "y": dtype}
    made = small_model(nodes, {"x": sizes}, {"y": sizes}, weights, types=types, opset=19, ir_version=9)
    onnx.save(made, folder / "m.onnx")
    return folder / "m.onnx"


def block(*, paired: bool) -> list[onnx.NodeProto]:
    """A residual block: two products, an addition, activations; with pairs at what they read."""
    made: list[onnx.NodeProto] = []

    def pair(name: str) -> str:
        if not paired:
            return name
        made.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}_q"], name=f"q_{name}"))
        made.append(helper.make_node("DequantizeLinear", [f"{name}_q", "s", "z"], [f"{name}_d"], name=f"d_{name}"))
        return f"{name}_d"

    x = pair("x")
    made.append(helper.make_node("Conv", [x, "w"], ["a"], name="a"))
    made.append(helper.make_node("Relu", ["a"], ["b"], name="b"))
    made.append(helper.make_node("Conv", [pair("b"), "w"], ["c"], name="c"))
    made.append(helper.make_node("Add", ["c", x], ["sum"], name="sum"))
    made.append(helper.make_node("Relu", ["sum"], ["y"], name="y"))
    return made


def test_a_product_takes_activation_and_residual_along(counts: ModuleType, tmp_path: Path) -> None:
    pixels = 4 * 8 * 8
    plain = counts.Kernels(graph_of(tmp_path, block(paired=False), HALF)).crossing()
    # x is read by both kernels, b written and read, y written
    assert plain == {"16": 2 * pixels * (2 + 2 + 1)}
    paired = counts.Kernels(graph_of(tmp_path, block(paired=True), HALF)).crossing()
    # x is read and written as 8 bits, which both kernels read; b is written and read, y written in 16 bits
    assert paired == {"8": pixels * (1 + 2 + 2), "16": 2 * pixels * (1 + 1)}


def test_a_cast_to_float32_is_read_through_and_one_at_an_output_is_not(counts: ModuleType, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="a"),
        helper.make_node("Cast", ["a"], ["wide"], name="cast", to=FLOAT),
        helper.make_node("Softmax", ["wide"], ["s2"], name="softmax", axis=1),
        helper.make_node("Cast", ["s2"], ["y"], name="back", to=HALF),
    ]
    pixels = 4 * 8 * 8
    found = counts.Kernels(graph_of(tmp_path, nodes, HALF)).crossing()
    assert found == {"16": 2 * pixels * (1 + 2 + 1)}
