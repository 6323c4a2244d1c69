"""The nodes of a message of ONNX, those inside the bodies of If, Loop and Scan included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx


def nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Yield every node of a graph or a function, at any depth."""
    for node in graph.node:
        yield from nodes_of(node)


def nodes_of(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield a node, and those inside of its bodies."""
    yield node
    for body in bodies(node):
        yield from nodes(body)


def constants(graph: onnx.GraphProto | onnx.FunctionProto) -> dict[str, onnx.TensorProto]:
    """Return by name the tensors that a graph or a function stores itself or in Constant nodes, at any depth."""
    stored = {one.name: one for one in getattr(graph, "initializer", ())}
    return stored | {
        node.output[0]: attribute.t
        for node in nodes(graph)
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that a node holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the values of a node's attributes by their names."""
    import onnx

    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
