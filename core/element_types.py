"""The element types of a graph's tensors, from the ONNX file alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type (``onnx.TensorProto.DataType``) of every tensor of the top graph, by its name.

    Inputs, outputs and initializers state theirs; shape inference finds the rest. A tensor that it cannot type, behind
    an operator that ONNX does not define, is left out.
    """
    import onnx

    typed_outputs = [value for value in model.graph.output if value.type.tensor_type.elem_type]
    if len(typed_outputs) < len(model.graph.output):
        # inference leaves an output without a type as it is, and finds that of anything else
        copy = type(model)()
        copy.CopyFrom(model)
        del copy.graph.output[:]
        copy.graph.output.extend(typed_outputs)
        model = copy
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    found |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: kind for name, kind in found.items() if kind != onnx.TensorProto.UNDEFINED}
