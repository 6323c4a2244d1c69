"""Faults of one node: each changes it in place, and returns False if it does not apply."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from attn2trt.core.graph import OnnxGraph
from attn2trt.engines.ort_runtime import OrtRuntime


@dataclass(frozen=True)
class Loaded:
    """A graph to break, and what its values are: the floats, their shapes as inferred, their sizes as traced."""

    model: onnx.ModelProto
    floats: frozenset[str]
    shapes: dict[str, tuple[Any, ...]]
    sizes: dict[str, tuple[int, ...]]


Fault = Callable[[Loaded, onnx.NodeProto, random.Random], bool]


def _weights(model: onnx.ModelProto, node: onnx.NodeProto, place: int) -> Any:
    """The constant at an input, made this node's own so that no other node changes."""
    if len(node.input) <= place:
        return None
    for tensor in model.graph.initializer:
        if tensor.name == node.input[place]:
            own = model.graph.initializer.add()
            own.CopyFrom(tensor)
            own.name = f"{tensor.name}/{node.name}"
            node.input[place] = own.name
            return own
    return None


def _edit(tensor: Any, change: Callable[[np.ndarray], np.ndarray]) -> bool:
    before = numpy_helper.to_array(tensor)
    after = change(before.copy()).astype(before.dtype)
    if np.array_equal(before, after):
        return False
    tensor.CopyFrom(numpy_helper.from_array(after, tensor.name))
    return True


def _scaled(factor: float) -> Fault:
    def fault(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
        if node.op_type not in ("Conv", "Gemm", "MatMul", "BatchNormalization"):
            return False
        tensor = _weights(graph.model, node, 1)
        return tensor is not None and _edit(tensor, lambda values: values * factor)

    return fault


def one_channel(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """One output channel's weights off by a half."""
    tensor = _weights(graph.model, node, 1) if node.op_type in ("Conv", "BatchNormalization") else None
    if tensor is None:
        return False
    at = rng.randrange(tensor.dims[0])

    def change(values: np.ndarray) -> np.ndarray:
        values[at] *= 1.5
        return values

    return _edit(tensor, change)


def no_bias(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """The bias of a convolution or a product left out."""
    if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
        return False
    tensor = _weights(graph.model, node, 2)
    return tensor is not None and _edit(tensor, np.zeros_like)


ACTIVATIONS = ("Relu", "Sigmoid", "HardSwish", "Clip", "Softmax", "Erf", "HardSigmoid", "LeakyRelu", "Gelu")


def dropped(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """An activation that does nothing."""
    if node.op_type not in ACTIVATIONS:
        return False
    del node.attribute[:], node.input[1:]
    node.op_type = "Identity"
    return True


def removed(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """An activation's node gone, its reader wired to what it read."""
    if node.op_type not in ACTIVATIONS or any(node.output[0] == output.name for output in graph.model.graph.output):
        return False
    for other in graph.model.graph.node:
        for place, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[place] = node.input[0]
    graph.model.graph.node.remove(node)
    return True


def doubled(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """An activation applied twice."""
    if node.op_type not in ("Sigmoid", "HardSwish", "Softmax", "Erf"):
        return False
    first = onnx.NodeProto()
    first.CopyFrom(node)
    first.name, first.output[0] = f"{node.name}/first", f"{node.output[0]}/first"
    node.input[0] = first.output[0]
    graph.model.graph.node.insert([other.name for other in graph.model.graph.node].index(node.name), first)
    return True


OTHER_OPERATOR = {
    "ReduceMax": "ReduceMean",
    "ReduceMean": "ReduceMax",
    "ReduceSum": "ReduceMax",
    "Sigmoid": "HardSigmoid",
    "Relu": "LeakyRelu",
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "Add",
    "Div": "Mul",
}


def other_operator(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """A sibling in place of the operator."""
    if node.op_type not in OTHER_OPERATOR or (node.op_type == "ReduceSum" and len(node.input) > 1):
        return False
    if not all(name in graph.floats for name in node.output):
        return False
    node.op_type = OTHER_OPERATOR[node.op_type]
    return True


def swapped(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """Two inputs of an operator for which their order matters."""
    if node.op_type not in ("Concat", "Sub", "Div", "MatMul") or len(node.input) < 2:
        return False
    if not all(name in graph.floats for name in node.output) or node.input[0] == node.input[1]:
        return False
    first, second = node.input[0], node.input[1]
    node.input[0], node.input[1] = second, first
    return True


def rewired(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """An input read from another value of the same shape that exists already."""
    shapes = graph.shapes
    made: list[str] = [value.name for value in graph.model.graph.input]
    for other in graph.model.graph.node:
        if other is node or other.name == node.name:
            break
        made += other.output
    weights = {tensor.name for tensor in graph.model.graph.initializer}
    for place, name in enumerate(node.input):
        same = [m for m in made if m != name and m not in node.input and shapes.get(m) == shapes.get(name)]
        if name not in weights and name in shapes and len(shapes[name]) > 1 and same:
            node.input[place] = rng.choice(same)
            return True
    return False


def other_axis(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """A reduction or a softmax over another axis."""
    for attribute in node.attribute:
        if node.op_type == "Softmax" and attribute.name == "axis":
            attribute.i = -2 if attribute.i == -1 else -1
            return True
        if node.op_type.startswith("Reduce") and attribute.name == "axes" and len(attribute.ints) == 2:
            del attribute.ints[0]
            return True
        if node.op_type == "Transpose" and attribute.name == "perm" and len(attribute.ints) > 3:
            attribute.ints[-1], attribute.ints[-2] = attribute.ints[-2], attribute.ints[-1]
            return True
    return False


def shifted_pads(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """Padding on the wrong side."""
    for attribute in node.attribute:
        if attribute.name == "pads" and any(attribute.ints):
            half = len(attribute.ints) // 2
            pads = [n - (n > 0) for n in attribute.ints[:half]] + [n + (n > 0) for n in attribute.ints[half:]]
            del attribute.ints[:]
            attribute.ints.extend(pads)
            return True
    return False


def epsilon(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """A normalisation's epsilon of 0.1."""
    if "Normalization" not in node.op_type:
        return False
    kept = [attribute for attribute in node.attribute if attribute.name != "epsilon"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("epsilon", 0.1)])
    return True


def baked_size(graph: Loaded, node: onnx.NodeProto, rng: random.Random) -> bool:
    """A size that was computed, as the number of the traced shape."""
    made = {name for other in graph.model.graph.node for name in other.output}
    if node.op_type not in ("Reshape", "Expand") or node.input[1] not in made:
        return False
    shape = graph.sizes.get(node.output[0])
    if shape is None:
        return False
    graph.model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{node.name}/baked"))
    node.input[1] = f"{node.name}/baked"
    return True


FAULTS: dict[str, Fault] = {
    "weight off by 1 %": _scaled(1.01),
    "weight doubled": _scaled(2.0),
    "one channel": one_channel,
    "no bias": no_bias,
    "activation dropped": dropped,
    "activation removed": removed,
    "activation doubled": doubled,
    "other operator": other_operator,
    "swapped inputs": swapped,
    "rewired input": rewired,
    "other axis": other_axis,
    "shifted pads": shifted_pads,
    "epsilon": epsilon,
    "baked size": baked_size,
}


def load(graph: OnnxGraph, feeds: dict[str, np.ndarray]) -> Loaded:
    """Read a graph and learn what its values are on the traced inputs."""
    model = onnx.load(str(graph.path))
    values = onnx.shape_inference.infer_shapes(model).graph
    floats, shapes = set(), {}
    for value in (*values.input, *values.value_info, *values.output):
        kind = value.type.tensor_type
        if kind.elem_type == onnx.TensorProto.FLOAT:
            floats.add(value.name)
            shapes[value.name] = tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim)
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    outputs = {output.name for output in model.graph.output}
    for name in floats & {name for node in model.graph.node for name in node.output} - outputs:
        shown.graph.output.append(onnx.ValueInfoProto(name=name))
    with OrtRuntime(shown.SerializeToString(), optimise=False) as runtime:
        sizes = {name: array.shape for name, array in runtime.run(feeds).items()}
    return Loaded(model, frozenset(floats), shapes, sizes)
