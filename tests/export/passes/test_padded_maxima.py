"""A Pad with a number before a MaxPool gives that number in ONNX Runtime and behind onnxsim, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from small_graph import small_model

from attn2trt.core.graph import OnnxGraph
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.export.passes.padded_maxima import keep_padding_apart
from attn2trt.export.simplify import simplify


def padded(
    value: float | None, *, is_node: bool = False, mode: str = "constant", op: str = "MaxPool"
) -> onnx.ModelProto:
    number = np.array(value or 0, np.float32)
    given = ["x", "pads"] if value is None else ["x", "pads", "number"]
    constant = [helper.make_node("Constant", [], ["number"], value=numpy_helper.from_array(number))] if is_node else []
    nodes = [
        *constant,
        helper.make_node("Pad", given, ["z"], name="padding", mode=mode),
        helper.make_node(op, ["z"], ["y"], name="pooling", kernel_shape=[3, 3], strides=[2, 2]),
    ]
    weights = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])} | ({} if is_node or value is None else {"number": number})
    return small_model(nodes, {"x": ["batch", 3, 9, 9]}, {"y": ["batch", 3, 5, 5]}, weights)


def run(model: onnx.ModelProto, x: np.ndarray, level: str) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}_ALL")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


def below_zero(batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(-3, -1, (batch, 3, 9, 9)).astype(np.float32)


@pytest.mark.parametrize("model", [padded(0.0), padded(None), padded(-0.5, is_node=True)])
def test_the_number_is_in_the_maximum(model: onnx.ModelProto) -> None:
    x = below_zero()
    truth = run(model, x, "DISABLE")
    assert keep_padding_apart(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(run(model, x, "DISABLE"), truth)
    assert np.array_equal(run(model, x, "ENABLE"), truth)


@pytest.mark.parametrize(
    "model",
    [padded(-np.inf), padded(0.0, mode="reflect"), padded(0.0, op="AveragePool"), padded(-np.inf, is_node=True)],
)
def test_what_may_become_one_stays(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    assert keep_padding_apart(model) == 0
    assert model.SerializeToString() == before


def test_a_simplified_graph_keeps_them_apart(tmp_path: Path) -> None:
    model, x = padded(0.0), below_zero()
    onnx.save(model, tmp_path / "model.onnx")
    spec = TensorSpec("x", ("batch", 3, 9, 9))
    out = TensorSpec("y", ("batch", 3, 5, 5))
    graph = OnnxGraph(tmp_path / "model.onnx", 17, (spec,), (out,), axes={"batch": Axis(1, 2, 4)})
    found, why_not = simplify(graph, tmp_path / "simplified.onnx")
    assert not why_not
    assert np.array_equal(run(onnx.load(found.path), x, "ENABLE"), run(model, x, "DISABLE"))
