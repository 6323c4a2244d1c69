"""The types of a graph for the evaluator: what it has in half precision, and every float in one type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.nodes import bodies

if TYPE_CHECKING:
    import onnx

# Attributes that name a type.
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "softmax_precision")


def half_values(model: onnx.ModelProto) -> dict[str, str]:
    """Return the values that the graph has in half precision, with its name."""
    import onnx

    names = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    return {name: names[kind] for name, kind in kinds.items() if kind in names}


def type_name(value: onnx.ValueInfoProto) -> str:
    """Return the NumPy type of a graph's input or output; "" if it has none."""
    import onnx

    kind = value.type.tensor_type.elem_type
    return onnx.helper.tensor_dtype_to_np_dtype(kind).name if kind else ""


def retype(model: onnx.ModelProto, dtype: str) -> None:
    """Make every float of the model ``dtype``: weights, constants, casts, and types that attributes name."""
    import onnx

    types = onnx.TensorProto
    floats: set[int] = {types.FLOAT, types.DOUBLE, types.FLOAT16, types.BFLOAT16}
    wanted = types.DOUBLE if dtype == "float64" else types.FLOAT
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in floats:
            value.type.tensor_type.elem_type = wanted
    _retype_graph(model.graph, floats, wanted)


def _retype_graph(graph: onnx.GraphProto, floats: set[int], wanted: int) -> None:
    for tensor in graph.initializer:
        _retype_tensor(tensor, floats, wanted)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _retype_tensor(attribute.t, floats, wanted)
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in floats:
                attribute.i = wanted
        if node.op_type == "Constant" and node.attribute[0].name in ("value_float", "value_floats"):
            _retype_numbers(node, wanted)
        for body in bodies(node):
            for value in (*body.input, *body.output, *body.value_info):
                if value.type.tensor_type.elem_type in floats:
                    value.type.tensor_type.elem_type = wanted
            _retype_graph(body, floats, wanted)


def _retype_tensor(tensor: onnx.TensorProto, floats: set[int], wanted: int) -> None:
    import onnx

    if tensor.data_type in floats and tensor.data_type != wanted:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(wanted)
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(dtype), tensor.name))


def _retype_numbers(node: onnx.NodeProto, wanted: int) -> None:
    """Turn a constant that is given as a number or numbers, which are float32 by definition, into a tensor."""
    import onnx

    given = node.attribute[0]
    numbers = np.array(given.f if given.name == "value_float" else list(given.floats), np.float32)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(wanted)
    node.attribute[0].CopyFrom(onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(numbers.astype(dtype))))
