"""Graphs of onnx.helper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from other_tools.foreign_file import Foreign


def by_hand() -> Iterator[Foreign]:
    """Yield graphs of onnx.helper."""
    yield Foreign("two layers", "onnx.helper, weights beside it", handmade_external)
    yield Foreign("one layer", "onnx.helper, bfloat16", handmade_bfloat16)
    yield Foreign("one layer", "onnx.helper, a function of the file", handmade_function)


def _dense(dtype: int, name: str = "MatMul", domain: str = "") -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(16, 12)).astype(helper.tensor_dtype_to_np_dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node(name, ["x", "w"], ["z"], domain=domain), helper.make_node("Tanh", ["z"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT if domain else dtype, ("n", 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT if domain else dtype, ("n", 12))],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def handmade_external(path: Path) -> None:
    """Write a layer whose weight lies beside it."""
    beside = {"save_as_external_data": True, "location": "layer.weights", "size_threshold": 0}
    onnx.save_model(_dense(TensorProto.FLOAT), str(path), **beside)


def handmade_bfloat16(path: Path) -> None:
    """Write a layer that casts to bfloat16 and back."""
    model = _dense(TensorProto.BFLOAT16)
    for value, cast in ((model.graph.input[0], "x"), (model.graph.output[0], "y")):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
        value.name = f"{cast}32"
    nodes = list(model.graph.node)
    del model.graph.node[:]
    first = helper.make_node("Cast", ["x32"], ["x"], to=TensorProto.BFLOAT16)
    model.graph.node.extend([first, *nodes, helper.make_node("Cast", ["y"], ["y32"], to=TensorProto.FLOAT)])
    onnx.save(model, str(path))


def handmade_function(path: Path) -> None:
    """Write a layer whose product is a function that the file defines."""
    model = _dense(TensorProto.FLOAT, "Layer", "local")
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    model.functions.append(helper.make_function("local", "Layer", ["a", "b"], ["c"], body, model.opset_import[:1]))
    model.opset_import.append(helper.make_opsetid("local", 1))
    onnx.save(model, str(path))
