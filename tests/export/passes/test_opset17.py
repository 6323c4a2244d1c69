"""The conversion to opset 17 computes the same numbers, and refuses what 17 cannot say."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper
from small_graph import small_model

from attn2trt.errors import ModuleRefused
from attn2trt.export.passes.opset17 import ToOpset17


def model_of(
    node: onnx.NodeProto, constants: dict[str, np.ndarray], outputs: tuple[str, ...] = ("y",)
) -> onnx.ModelProto:
    return small_model([node], {"x": [2, 4, 6, 8]}, dict.fromkeys(outputs), constants, opset=18, ir_version=10)


def converted(model: onnx.ModelProto) -> onnx.ModelProto:
    parsed = ir.from_proto(model)
    ToOpset17()(parsed)
    return ir.to_proto(parsed)


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


AXES = np.array([2, -1], dtype=np.int64)
REDUCTIONS = ["L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare"]
NODES = {
    **{
        f"Reduce{kind}": (helper.make_node(f"Reduce{kind}", ["x", "axes"], ["y"], keepdims=1), {"axes": AXES})
        for kind in REDUCTIONS
    },
    "ReduceMean of everything": (helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0), {}),
    "Split": (helper.make_node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2), {}),
    "uneven Split": (helper.make_node("Split", ["x"], ["y", "z", "u"], axis=3, num_outputs=3), {}),
    "Pad": (
        helper.make_node("Pad", ["x", "pads", "", "axes"], ["y"]),
        {"pads": np.array([1, 2, 3, 4], dtype=np.int64), "axes": AXES},
    ),
    "Resize": (
        helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear", antialias=0),
        {"scales": np.array([1, 1, 2, 2], dtype=np.float32)},
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_same_numbers_in_opset_17(name: str) -> None:
    node, constants = NODES[name]
    model = model_of(node, constants, tuple(node.output))
    x = np.random.default_rng(0).uniform(0.5, 1.5, (2, 4, 6, 8)).astype(np.float32)
    result = converted(model)
    assert result.opset_import[0].version == 17
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(result, strict_mode=True), full_check=True)
    for before, after in zip(run(model, x), run(result, x), strict=True):
        np.testing.assert_array_equal(before, after)


REFUSED = {
    "a new operator": (helper.make_node("Mish", ["x"], ["y"]), {}, "first appeared in opset 18"),
    "antialiasing": (
        helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear", antialias=1),
        {"scales": np.array([1, 1, 2, 2], dtype=np.float32)},
        "antialiasing",
    ),
    "too many parts": (
        helper.make_node("Split", ["x"], list("yzuvw"), axis=2, num_outputs=5),
        {},
        "6 elements into 5 parts",
    ),
    "a split of a size": (helper.make_node("Split", ["s"], ["y", "z"], num_outputs=2), {}, "along a dynamic axis"),
    "axes at run time": (helper.make_node("ReduceMax", ["x", "x"], ["y"]), {}, "only known at run time"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_17_cannot_say_is_refused(name: str) -> None:
    node, constants, message = REFUSED[name]
    parsed = ir.from_proto(model_of(node, constants, tuple(node.output)))
    with pytest.raises(ModuleRefused, match=f"{message}.*--opset 18"):
        ToOpset17()(parsed)
