"""The precision in which each node of a graph computes, by the graph itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .element_types import element_types
from .operators import ARITHMETIC, DEQUANTIZE_LINEAR, PRODUCTS, QUANTISERS
from .precision import PRECISIONS

if TYPE_CHECKING:
    import onnx


def lowered_nodes(graph: Path, precision: str) -> frozenset[str]:
    """Return the names of the nodes that compute in ``precision``, and not in float32.

    For a half precision those that read floats of it, moves of values left out; for an 8-bit one the products both of
    whose factors come out of a DequantizeLinear. None for a precision of the float32 graph, which says nothing of it.
    """
    import onnx

    model = onnx.load(str(graph), load_external_data=False)
    row = PRECISIONS[precision]
    if row.graph == "casts":
        return frozenset(_reading(model, onnx.TensorProto.DataType.Value(row.onnx_type)))
    return frozenset(_of_dequantized(model)) if row.graph == "quantised" else frozenset()


def has_its_type(graph: Path, precision: str) -> bool:
    """Tell whether anything in a graph of ``precision`` has its type; of the float32 graph's own, nothing needs to."""
    import onnx

    row = PRECISIONS[precision]
    if row.graph == "float32":
        return True
    model, wanted = onnx.load(str(graph), load_external_data=False), onnx.TensorProto.DataType.Value(row.onnx_type)
    weights = any(tensor.data_type == wanted for tensor in model.graph.initializer)
    return weights or wanted in element_types(model).values()  # inferring types takes several times as long


def converting_nodes(graph: Path) -> frozenset[str]:
    """Return the names of the nodes that change the type of what they read: casts, quantisations and their inverses."""
    import onnx

    nodes = onnx.load(str(graph), load_external_data=False).graph.node
    return frozenset(node.name for node in nodes if node.op_type in ("Cast", *QUANTISERS))


def _reading(model: onnx.ModelProto, wanted: int) -> Iterator[str]:
    types = element_types(model)
    for node in model.graph.node:
        if node.op_type in PRODUCTS | ARITHMETIC and any(types.get(name) == wanted for name in node.input):
            yield node.name


def _of_dequantized(model: onnx.ModelProto) -> Iterator[str]:
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        factors = [makers.get(name) for name in node.input[:2]]
        if node.op_type in PRODUCTS and factors == [DEQUANTIZE_LINEAR, DEQUANTIZE_LINEAR]:
            yield node.name
