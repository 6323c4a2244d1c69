"""Keep what pads a tensor apart from the MaxPool that reads it, unless it pads with -inf.

ONNX Runtime and onnxsim take any constant Pad for the padding of the MaxPool behind it, which is -inf
(microsoft/onnxruntime#18136, onnxsim/onnxsim#290): where all of a window is below the value, the result is another.
The larger of a value and -inf is the value; they see another node between the two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def keep_padding_apart(model: onnx.ModelProto) -> int:
    """Put a Max between every such pair of ``model`` and return how many there were."""
    import onnx

    graph = model.graph
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad" and _fills(node)}
    pairs = [node for node in graph.node if node.op_type == "MaxPool" and node.input[0] in pads]
    values = _values(graph) if pairs else {}
    count = 0
    for pool in pairs:
        pad = pads[pool.input[0]]
        value = values.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.float32(0)
        if value is None or value.dtype.kind != "f" or value.item() == -math.inf:
            continue
        lowest, apart = f"{pool.output[0]}/lowest", f"{pool.output[0]}/padded"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(-np.inf, value.dtype), lowest))
        between = onnx.helper.make_node("Max", [pool.input[0], lowest], [apart], name=f"{pool.name}/padded")
        between.metadata_props.extend(pad.metadata_props)
        pool.input[0] = apart
        graph.node.insert([*graph.node].index(pool), between)
        count += 1
    return count


def _fills(node: onnx.NodeProto) -> bool:
    return all(one.s == b"constant" for one in node.attribute if one.name == "mode")


def _values(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Return the constants of one element."""
    import onnx

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            tensors.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
    return {name: onnx.numpy_helper.to_array(tensor) for name, tensor in tensors.items() if math.prod(tensor.dims) == 1}
