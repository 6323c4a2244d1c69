"""A tiny healthy graph with dynamic dimensions, for tests that break it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from attn2trt.core.tensor_spec import TensorSpec

INPUT = TensorSpec("x", ("batch", 3, "height", 8))
OUTPUT = TensorSpec("y", ("batch", 3, "height", 8))


def healthy() -> onnx.ModelProto:
    """``y = x + 1``, opset 17."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "bias"], ["y"], name="add")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(INPUT.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(OUTPUT.shape))],
        [numpy_helper.from_array(np.ones((3, 1, 1), np.float32), "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
