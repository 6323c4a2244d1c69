"""Write a Transpose that moves nothing but axes of one element as the Reshape that it is.

The elements keep their order. TensorRT for RTX 1.7 does not build some float16 graphs with such a Transpose between
gathered patches and a residual sum (MobileViT v2 with one patch: formats.cpp, CHECK(def_tactic_desc) failed).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

Dims = Sequence[int | None]
# Elements of a constant that may be the sizes of a tensor.
SMALL = 1024


def reshape_unit_transposes(model: onnx.ModelProto) -> int:
    """Replace such nodes of ``model`` and return how many there were."""
    import onnx

    nodes = [node for node in model.graph.node if node.op_type == "Transpose" and node.domain in ("", "ai.onnx")]
    if not nodes:
        return 0
    shapes = _shapes(onnx.shape_inference.infer_shapes(_without_weights(model)).graph)
    taken = {tensor.name for tensor in model.graph.initializer}
    count = 0
    for node in nodes:
        target = _target(shapes.get(node.input[0]), node)
        name = f"{node.output[0]}/moved"
        if target is None or name in taken:
            continue
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(target, np.int64), name))
        node.op_type = "Reshape"
        del node.attribute[:]
        node.input.append(name)
        count += 1
    return count


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model, its weights as inputs: inference copies what it is given, and reads none but small numbers."""
    import onnx

    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def _shapes(graph: onnx.GraphProto) -> dict[str, Dims]:
    """Return the sizes of every tensor whose rank is known, None for one that varies."""
    return {
        value.name: [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
        if value.type.tensor_type.HasField("shape")
    }


def _target(dims: Dims | None, node: onnx.NodeProto) -> list[int] | None:
    """Return the shape for a Reshape in place of a Transpose; None if none does, or two sizes that vary have moved."""
    order = [list(one.ints) for one in node.attribute if one.name == "perm"]
    if dims is None or not order or 0 in dims:
        return None
    (axes,) = order
    kept = [axis for axis in axes if dims[axis] != 1]
    if kept != sorted(kept):
        return None
    # 0 copies the size at its own place
    target = [(0 if axis == place else -1) if dims[axis] is None else dims[axis] for place, axis in enumerate(axes)]
    return [int(size) for size in target if size is not None] if target.count(-1) <= 1 else None
