"""The rounding of a graph below float32, for the evaluator: read off what was lowered, not off the lowered graph.

The floor must not contain what the writer of a lower precision did wrong, so that the float32 graph is run, and rounded
at the nodes that compute in the precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...core.graph_io import FLOAT32
from ...core.precision import PRECISIONS, Precision
from ..arrays import Array
from .levels import largest_of, quantised


@dataclass(frozen=True)
class Rounding:
    """The loss of a run in float32 at some nodes, by their names.

    Attributes:
        half: The half precision in which each node reads and gives its floats.
        levels: The scale of what a node reads first, the name of its weight, and the axis of the weight's channels,
            each of which has a scale of its own; None if one scale is for all.
        tensors: The scale of inputs of a node that is no such product, by the names of the tensors.
        dtype: The type whose numbers the levels are.
        scales: The type whose numbers weights' scales are: the next larger ones; "" if they stay as they are.
        products: The products whose operands have tf32's digits.
        outputs: The half precision of the graph's outputs; "" if they stay as they are.
        rounds: The graph's own quantisers round to their levels.
    """

    half: Mapping[str, str] = field(default_factory=dict)
    levels: Mapping[str, tuple[float, str, int | None]] = field(default_factory=dict)
    tensors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dtype: str = ""
    scales: str = ""
    products: Sequence[str] = ()
    outputs: str = ""
    rounds: bool = False


def half_rounding(nodes: Iterable[str], precision: Precision, *, io: str = FLOAT32, rounds: bool = False) -> Rounding:
    """Return the rounding of a half precision, in which these nodes read and give their floats.

    ``io`` is the type of the outputs, and ``rounds`` has the graph's own quantisers round.
    """
    return Rounding(half=dict.fromkeys(nodes, precision.dtype), outputs="" if io == FLOAT32 else io, rounds=rounds)


def product_rounding(nodes: Iterable[str]) -> Rounding:
    """Return the rounding of tf32: of both operands of each of the products ``nodes``."""
    return Rounding(products=list(nodes))


def level_rounding(path: Path, nodes: Iterable[str], ranges: Mapping[str, float], precision: Precision) -> Rounding:
    """Return the rounding of 8-bit products: of the tensor that each of ``nodes`` reads, and of its weight.

    Args:
        path: The float32 graph.
        nodes: The names of the products.
        ranges: The largest magnitude of each tensor that they read.
        precision: What they compute in.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    wanted, levels = set(nodes), {}
    for node in model.graph.node:
        if node.name in wanted and node.input[0] in ranges:
            axis = _output_axis(node) if precision.per_channel else None
            levels[node.name] = (ranges[node.input[0]] / precision.largest, node.input[1], axis)
    return Rounding(levels=levels, dtype=precision.dtype)


def placed_rounding(
    path: Path,
    products: Iterable[str],
    readers: Mapping[str, Iterable[tuple[str, int]]],
    scales: Mapping[str, float],
    half: Iterable[str],
    precision: Precision,
) -> Rounding:
    """Return the rounding of a graph with 8 bits between its products and half precision elsewhere.

    Args:
        path: The float32 graph.
        products: The products that are quantised.
        readers: The inputs that read 8 bits of each tensor.
        scales: The scale of each of these tensors.
        half: The nodes that compute in half precision.
        precision: The 8-bit format and the precision of the rest.
    """
    import onnx

    wanted = set(products)
    nodes = {node.name: node for node in onnx.load(str(path), load_external_data=False).graph.node}
    rest = PRECISIONS[precision.rest].dtype
    tensors: dict[str, dict[str, float]] = {}
    for tensor, found in readers.items():
        for name, _ in found:
            tensors.setdefault(name, {})[tensor] = scales[tensor]
    levels = {
        name: (scales[node.input[0]], node.input[1], _output_axis(node))
        for name, node in nodes.items()
        if name in wanted
    }
    return Rounding(dict.fromkeys(half, rest), levels, tensors, precision.dtype, rest)


def _output_axis(node: object) -> int:
    """Return the axis of the output channels in a product's weight: ONNX's definition of the operators."""
    kind = node.op_type  # type: ignore[attr-defined]
    turned = any(part.name == "transB" and part.i for part in node.attribute)  # type: ignore[attr-defined]
    return 0 if kind == "Conv" or (kind == "Gemm" and turned) else 1


def levelled(node: str, place: int, name: str, value: Array, how: Rounding) -> Array:
    """Return an input of a node on its levels, if it has any."""
    if node in how.levels:
        scale, weight, axis = how.levels[node]
        if place == 0:
            return quantised(value, np.asarray(scale, np.float32), how.dtype)
        if name == weight:
            return quantised(value, _next_larger(_weight_scales(value, axis, how.dtype), how.scales), how.dtype)
    elif name in how.tensors.get(node, {}):
        return quantised(value, np.asarray(how.tensors[node][name], np.float32), how.dtype)
    return value


def _next_larger(scales: Array, dtype: str) -> Array:
    """Return the next numbers of a type that are not smaller; the same without a type."""
    if not dtype:
        return scales
    narrow = scales.astype(dtype)
    less = narrow.astype(np.float64) < scales
    return np.where(less, np.nextafter(narrow, narrow.dtype.type(np.inf)), narrow).astype(scales.dtype)


def _weight_scales(weight: Array, axis: int | None, dtype: str) -> Array:
    others = None if axis is None else tuple(place for place in range(weight.ndim) if place != axis)
    found = np.abs(weight).max(axis=others, keepdims=axis is not None) / np.float32(largest_of(dtype))
    return np.where(found == 0, 1, found).astype(weight.dtype)
