"""A graph whose channel gates are nodes of the TensorRT plugin, and the same graph with each node written out again.

A gate is a mean over height and width, two linear layers with ReLU between them, a sigmoid or hard sigmoid, and the
product with the map; an addition and a ReLU behind it go into the node if nothing else reads what is between. Half
precision graphs have casts and their layers in float16: the node computes all of it in float32 and rounds once.
Written out in ONNX's own operators the node can be run, and judged, without the plugin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from .rewrites.rewrite import Writer, alike, constant, sizes
from .rewrites.tensorrt.gate_chain import Product, product_of
from .rewrites.tensorrt.spatial_mean import SPATIAL, given, is_mean, reduce

DOMAIN, OP_TYPE, PLUGIN_VERSION = "attn2trt", "ChannelGate", "1"
SIGMOID, HARD_SIGMOID = 0, 1
SLOPE, MIDDLE = 1 / 6, 0.5  # of the hard sigmoid that the node has
TYPES = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
# They give a row or a pixel of numbers what it was given, in another shape or type.
PASSING = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
OPERANDS = ("w1", "b1", "w2", "b2")


@dataclass(frozen=True)
class Gate:
    """A gate of a graph: the map, the layers, and what follows; ``end`` gives what the node will give."""

    x: ir.Value
    first: Product
    second: Product
    last: int
    residual: ir.Value | None
    relu: bool
    end: ir.Node


def replace_gates(model: ir.Model) -> tuple[str, ...]:
    """Put a node of the plugin in the place of every gate; returns the names of the nodes."""
    ShapeInferencePass()(model)  # a gate is known by its shapes
    names = []
    for node in [node for node in model.graph if node.op_type == "Mul"]:
        if node.graph is not None and (gate := _gate(node)) is not None:
            names.append(_put(model.graph, gate))
    if names:
        model.graph.opset_imports[DOMAIN] = 1
        RemoveUnusedNodesPass()(model)
    return tuple(names)


def write_out(model: ir.Model) -> None:
    """Put ONNX's own operators in the place of every node of the plugin."""
    for node in [node for node in model.graph if node.domain == DOMAIN]:
        _write_out(node)
    model.graph.opset_imports.pop(DOMAIN, None)
    RemoveUnusedNodesPass()(model)


def _gate(product: ir.Node) -> Gate | None:
    """Return the gate whose product with the map a node is; None for any other node."""
    for place in (0, 1):
        x, factor = product.inputs[1 - place], product.inputs[place]
        known = sizes(x, 4)
        if x is None or factor is None or known is None or known[1] is None or x.dtype not in TYPES:
            continue
        found = _layers(factor, x)
        if found is not None and found[0].weight.shape[1] == known[1]:
            return Gate(x, *found, *_behind(product))
    return None


def _layers(factor: ir.Value, x: ir.Value) -> tuple[Product, Product, int] | None:
    """Return the layers that a gate is made of, from the map's own mean on; None if it is made otherwise."""
    last = _before(factor)
    kind = None if last is None else _last_function(last)
    if last is None or kind is None:
        return None
    second = _layer(_before(last.inputs[0]))
    relu = None if second is None else _before(second[1])
    if second is None or relu is None or relu.op_type != "Relu":
        return None
    first = _layer(_before(relu.inputs[0]))
    mean = None if first is None else _before(first[1])
    if first is None or mean is None or not is_mean(mean) or not _is_same(mean.inputs[0], x):
        return None
    return first[0], second[0], kind


def _last_function(node: ir.Node) -> int | None:
    if node.op_type == "Sigmoid":
        return SIGMOID
    if node.op_type != "HardSigmoid":
        return None
    slope, middle = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    return HARD_SIGMOID if math.isclose(slope, SLOPE, rel_tol=1e-6) and math.isclose(middle, MIDDLE) else None


def _layer(node: ir.Node | None) -> tuple[Product, ir.Value] | None:
    """Return a linear layer that ends in a node, a bias added behind it included, and what it is given."""
    if node is None:
        return None
    found = product_of(node)
    if found is not None:
        value = node.inputs[0]
        fits = (_channels(value), _channels(node.outputs[0])) == (found.weight.shape[1], found.weight.shape[0])
        return (found, value) if fits and value is not None else None
    if node.op_type != "Add":
        return None
    for place in (0, 1):
        numbers, inner = constant(node.inputs[place]), _layer_alone(node.inputs[1 - place])
        if numbers is not None and inner is not None and _is_vector(numbers, node.outputs[0]):
            bias = numbers.reshape(-1)
            return Product(inner[0].weight, bias if inner[0].bias is None else inner[0].bias + bias), inner[1]
    return None


def _layer_alone(value: ir.Value | None) -> tuple[Product, ir.Value] | None:
    node = _before(value)
    return None if node is None or node.op_type == "Add" else _layer(node)


def _is_vector(numbers: np.ndarray, result: ir.Value) -> bool:
    """Return True for one number for each channel of the result, in the place of the channels."""
    found = result.shape
    if found is None or numbers.ndim > len(found) or numbers.size != _channels(result):
        return False
    padded = (1,) * (len(found) - numbers.ndim) + numbers.shape
    return padded[1] == numbers.size


def _before(value: ir.Value | None) -> ir.Node | None:
    """Return the node that gives a row or pixel of numbers, whatever passes it on; None if others read it too."""
    while value is not None and len(value.uses()) == 1 and not value.is_graph_output():
        node = value.producer()
        if node is None or node.op_type not in PASSING:
            return node
        if _channels(node.inputs[0]) is None or _channels(node.inputs[0]) != _channels(value):
            return None
        value = node.inputs[0]
    return None


def _channels(value: ir.Value | None) -> int | None:
    """Return the known number of channels of rows (n, c) or pixels (n, c, 1, 1); None for any other tensor."""
    rows, pixels = sizes(value, 2), sizes(value, 4)
    if rows is not None:
        return rows[1]
    return pixels[1] if pixels is not None and pixels[2:] == (1, 1) else None


def _is_same(value: ir.Value | None, x: ir.Value) -> bool:
    """Return True if a value is the map, or the map in another float type."""
    while value is not None and value is not x:
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type in ("Cast", "Identity") else None
    return value is x


def _behind(product: ir.Node) -> tuple[ir.Value | None, bool, ir.Node]:
    """Return the residual that is added to a product, if a ReLU follows, and the last of these nodes."""
    residual, end = None, product
    added = _only_reader(end, "Add")
    if added is not None:
        other = next((value for value in added.inputs if value is not end.outputs[0]), None)
        if other is not None and constant(other) is None and _are_alike(other, end.outputs[0]):
            residual, end = other, added
    relu = _only_reader(end, "Relu")
    return residual, relu is not None, end if relu is None else relu


def _only_reader(node: ir.Node, op_type: str) -> ir.Node | None:
    value = node.outputs[0]
    readers = [use.node for use in value.uses()]
    if len(readers) != 1 or value.is_graph_output() or readers[0].op_type != op_type:
        return None
    return readers[0] if readers[0].graph is node.graph else None


def _are_alike(one: ir.Value, other: ir.Value) -> bool:
    """Return True for tensors of one type and one shape, all of whose sizes are known by number or name."""
    if one.dtype != other.dtype or one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return False
    return all(alike([one, other], axis) for axis in range(len(one.shape)))


def _put(graph: ir.Graph, gate: Gate) -> str:
    name, old = str(gate.end.name), gate.end.outputs[0]
    biases = [np.zeros(len(one.weight)) if one.bias is None else one.bias for one in (gate.first, gate.second)]
    numbers = (gate.first.weight, biases[0], gate.second.weight, biases[1])
    weights = [_weight(graph, f"{name}/{word}", one) for word, one in zip(OPERANDS, numbers, strict=True)]
    residual = [] if gate.residual is None else [gate.residual]
    attributes: Any = {"last": gate.last, "relu": int(gate.relu), "plugin_version": PLUGIN_VERSION}
    node = ir.node(OP_TYPE, [gate.x, *weights, *residual], attributes=attributes, domain=DOMAIN, name=name)
    new = node.outputs[0]
    new.name, new.type, new.shape = old.name, old.type, old.shape
    ir.convenience.replace_nodes_and_values(graph, gate.end, [gate.end], [node], [old], [new])
    return name


def _weight(graph: ir.Graph, wanted: str, numbers: np.ndarray) -> ir.Value:
    name, number = wanted, 1
    taken = {str(value.name) for node in graph for value in node.outputs} | {*graph.initializers}
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    tensor = ir.tensor(np.ascontiguousarray(numbers, np.float32), name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(numbers.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def _write_out(node: ir.Node) -> None:
    write, dtype = Writer(node), given(node).dtype
    w1, b1, w2, b2 = (constant(value) for value in node.inputs[1:5])
    assert w1 is not None
    assert w2 is not None

    def wide(value: ir.Value, word: str) -> ir.Value:
        return value if dtype == ir.DataType.FLOAT else _in_float32(write.node("Cast", [value], word, to=1))

    def layer(value: ir.Value, weight: np.ndarray, bias: np.ndarray | None, word: str) -> ir.Value:
        operands = [value, write.weight(weight[:, :, None, None], f"weight of the {word}")]
        operands += [] if bias is None else [write.weight(bias, f"bias of the {word}")]
        return _in_float32(write.node("Conv", operands, word, kernel_shape=[1, 1]))

    x = wide(given(node), "map")
    mean = _in_float32(reduce(write, node, x, SPATIAL, "mean", keep=True))
    hidden = _in_float32(write.node("Relu", [layer(mean, w1, b1, "first layer")], "hidden units"))
    last = layer(hidden, w2, b2, "second layer")
    line = {"alpha": ir.AttrFloat32("alpha", SLOPE), "beta": ir.AttrFloat32("beta", MIDDLE)}
    hard = node.attributes.get_int("last", SIGMOID) == HARD_SIGMOID
    gate = write.node("HardSigmoid", [last], "gate", **line) if hard else write.node("Sigmoid", [last], "gate")
    value = _in_float32(write.node("Mul", [x, _in_float32(gate)], "product"))
    if len(node.inputs) > 5 and node.inputs[5] is not None:
        value = _in_float32(write.node("Add", [value, wide(node.inputs[5], "residual")], "sum"))
    if node.attributes.get_int("relu", 0):
        value = _in_float32(write.node("Relu", [value], "cut off"))
    if dtype != ir.DataType.FLOAT:
        value = write.node("Cast", [value], "rounded", to=int(ir.DataType.FLOAT16))
        value.type = ir.TensorType(ir.DataType.FLOAT16)
    write.put(value)


def _in_float32(value: ir.Value) -> ir.Value:
    value.type = ir.TensorType(ir.DataType.FLOAT)
    return value
