"""The nodes of a message of ONNX, those inside the bodies of If, Loop and Scan included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

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


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that a node holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
