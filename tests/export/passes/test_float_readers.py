"""What a recurrent layer reads, and what gives a place among pixels, stays in float32 in a graph of half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from small_graph import graph_file, small_model

from attn2trt.core.precision import CAST
from attn2trt.core.tensor_spec import Axis, TensorSpec
from attn2trt.engines.tensorrt.flavours import RTX
from attn2trt.engines.tensorrt.plan_build import PlanBuild, PlanRequest
from attn2trt.engines.tensorrt.profiles import Profile
from attn2trt.errors import CheckFailed
from attn2trt.export.passes.float_policy import plan
from attn2trt.export.precision import lower

X = {"x": ["batch", 4, 1, 12]}
WEIGHTS = {
    "w": np.ones((8, 4, 1, 1), np.float32),
    "W": np.ones((1, 32, 8), np.float32),
    "R": np.ones((1, 32, 8), np.float32),
    "axis": np.array([2]),
    "direction": np.array([1]),
}


def columns(*behind: onnx.NodeProto) -> onnx.ModelProto:
    """An LSTM over the columns of a convolution's map; ``behind`` stands between them and turns "map" into "seen"."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["map"], name="conv"),
        *behind,
        helper.make_node("Squeeze", ["seen", "axis"], ["row"], name="squeeze"),
        helper.make_node("Transpose", ["row"], ["steps"], name="turn", perm=[2, 0, 1]),
        helper.make_node("LSTM", ["steps", "W", "R"], ["states"], name="lstm", hidden_size=8),
        helper.make_node("Squeeze", ["states", "direction"], ["y"], name="out"),
    ]
    return small_model(nodes, X, {"y": [12, "batch", 8]}, WEIGHTS)


RELU = helper.make_node("Relu", ["map"], ["seen"], name="relu")


def build(folder: Path, file: str) -> None:
    inputs, profiles = (TensorSpec("x", ("batch", 4, 1, 12)),), (Profile({"batch": Axis(1, 2, 8)}),)
    with PlanBuild(PlanRequest(folder, file, "fp16", inputs, profiles, flavour=RTX, targets=("8.9",))) as building:
        building.result()


@pytest.mark.tensorrt
def test_a_recurrent_layer_behind_a_convolution_is_built(tmp_path: Path) -> None:
    low = lower(graph_file(columns(RELU), tmp_path / "model.onnx"), "fp16", tmp_path)
    assert set(low.float32) == {"relu", "squeeze", "turn", "lstm", "out"}
    build(tmp_path, low.graph.path.name)


@pytest.mark.tensorrt
def test_tensorrt_for_rtx_builds_none_right_behind_a_cast(tmp_path: Path) -> None:
    """If this fails, a later version takes it, and nothing need stay in float32 for the sake of a recurrent layer."""
    cast = [
        helper.make_node("Cast", ["map"], ["low"], name="down", to=onnx.TensorProto.FLOAT16),
        helper.make_node("Cast", ["low"], ["seen"], name="up", to=onnx.TensorProto.FLOAT),
    ]
    onnx.save(columns(*cast), str(tmp_path / "model.onnx"))
    with pytest.raises(CheckFailed, match="Mismatched number of elements in reshape"):
        build(tmp_path, "model.onnx")


def test_a_place_among_pixels_and_what_moves_it_stay() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["map"], name="conv"),
        helper.make_node("Relu", ["map"], ["offset"], name="relu"),
        helper.make_node("Squeeze", ["offset", "axis"], ["moved"], name="move"),
        helper.make_node("Add", ["moved", "base"], ["place"], name="add"),
        helper.make_node("Floor", ["place"], ["pixel"], name="floor"),
        helper.make_node("Sub", ["place", "pixel"], ["part"], name="part"),
        helper.make_node("Mul", ["part", "moved"], ["y"], name="weigh"),
    ]
    base = {"w": WEIGHTS["w"], "axis": WEIGHTS["axis"], "base": np.arange(12, dtype=np.float32)}
    model = small_model(nodes, X, {"y": ["batch", 8, 12]}, base)
    found = plan(ir.from_proto(onnx.shape_inference.infer_shapes(model)), CAST["fp16"])
    assert found.low == {"conv", "relu"}
    assert found.float32["add"] == found.float32["move"] == "gives a place among pixels"
