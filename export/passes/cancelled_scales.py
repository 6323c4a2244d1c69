"""Leave out of a quantised convolution what its normalisation was folded into and taken out of again.

Quantisation-aware training quantises a weight that its batch normalisation is folded into; to normalise by it once
more, PyTorch divides the convolution's result by the same factors first. A chain Conv, Div, Add, BatchNormalization
computes nothing then but another bias, and keeps a TensorRT from writing the convolution's result in 8 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

# Factors that float32 cannot tell from one, after three roundings.
NEAR_ONE = 1e-6
_LINKS = ("Div", "Mul", "Add", "Sub", "BatchNormalization")


def cancel_scales(model: onnx.ModelProto) -> int:
    """Give every such convolution of ``model`` the bias that its chain comes to; returns how many there were."""
    graph = model.graph
    weights = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.input[1] in weights]
    count = sum(_cancel(graph, node) for node in convolutions)
    if count:
        used = {name for node in graph.node for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
    return count


def _cancel(graph: onnx.GraphProto, convolution: onnx.NodeProto) -> bool:
    import onnx

    constants = {tensor.name: tensor for tensor in graph.initializer}
    chain = list(_chain(graph, convolution))
    ends: list[tuple[int, np.ndarray]] = []
    scale, shift = np.ones(1), np.zeros(1)
    if len(convolution.input) > 2 and convolution.input[2]:
        bias = constants.get(convolution.input[2])
        if bias is None:
            return False
        shift = onnx.numpy_helper.to_array(bias).astype(np.float64)
    sizes = _sizes(graph, convolution, constants)
    for place, node in enumerate(chain):
        link = _link(node, constants, sizes)
        if link is None:
            break
        scale, shift = scale * link[0], shift * link[0] + link[1]
        if shift.size > 1 and np.abs(scale - 1).max() <= NEAR_ONE:
            ends.append((place, shift))
    # an addition alone is left to whoever folds it: nothing was taken out of the weight
    if not ends or all(node.op_type in ("Add", "Sub") for node in chain[: ends[-1][0] + 1]):
        return False
    last, shift = ends[-1]
    _give_bias(graph, convolution, shift, chain[last].output[0])
    for node in chain[: last + 1]:
        graph.node.remove(node)
    return True


def _chain(graph: onnx.GraphProto, convolution: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the nodes behind a convolution each of which alone reads the one before."""
    outputs = {value.name for value in graph.output}
    found: list[onnx.NodeProto] = []
    name = convolution.output[0]
    while name not in outputs:
        readers = [node for node in graph.node if name in node.input]
        if len(readers) != 1 or readers[0].op_type not in _LINKS or len([*filter(None, readers[0].output)]) != 1:
            break
        found.append(readers[0])
        name = readers[0].output[0]
    return found


def _sizes(graph: onnx.GraphProto, convolution: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> int:
    """Return how many sizes an image of a convolution has, by its weight; 0 if that is no constant."""
    makers = {node.output[0]: node for node in graph.node}
    name = convolution.input[1]
    while name not in constants and name in makers and makers[name].input:
        name = makers[name].input[0]
    return len(constants[name].dims) - 2 if name in constants else 0


def _link(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], sizes: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the factor and the addend of each channel that a node applies, in float64; None if it does more.

    A channel has so many ``sizes``, which its numbers come before; 0 if that is not known.
    """
    import onnx

    given = [constants.get(name) for name in node.input[1:]]
    if any(tensor is None for tensor in given):
        return None
    values = [onnx.numpy_helper.to_array(tensor).astype(np.float64) for tensor in given if tensor is not None]
    if node.op_type == "BatchNormalization":
        scale, bias, mean, variance = values
        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        return factor, bias - mean * factor
    value = values[0]
    if value.size > 1 and (not sizes or value.ndim <= sizes or value.shape[-sizes - 1] != value.size):
        return None  # not one number for each channel
    value = value.reshape(-1)
    if node.op_type in ("Add", "Sub"):
        return np.ones(1), value if node.op_type == "Add" else -value
    return (value if node.op_type == "Mul" else 1 / value), np.zeros(1)


def _give_bias(graph: onnx.GraphProto, convolution: onnx.NodeProto, bias: np.ndarray, output: str) -> None:
    """Have a convolution add this bias, and give what its chain gave."""
    import onnx

    name = f"{output}/bias"
    graph.initializer.append(onnx.numpy_helper.from_array(bias.astype(np.float32), name))
    inputs = [*convolution.input[:2], name]
    del convolution.input[:]
    convolution.input.extend(inputs)
    convolution.output[0] = output
