"""Decide which products of a graph compute with 8-bit integers and which stay in float32: node by node, with a reason.

Convolutions and matrix products with a constant weight are where time goes and where integers save it. Not quantised is

- a product that runs once per image, on what a global pooling has left (the squeeze layers of a gate, the classifier):
  it costs next to nothing, and its error would scale whole maps;
- a product of two computed operands (attention scores), whose ranges change from image to image;
- a transposed convolution, whose output channels are not the first axis of its weight;
- a product that a TensorRT refuses in the format (core/refused_types.py);
- everything else: additions, activations and gates read and write float32.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from ...core.precision import INT8
from ...core.refused_types import refusal

ONCE = "runs once per image: nothing to gain, and its error would scale whole maps"
COMPUTED = "both operands are computed"
AXES_LEFT = 2
# Products whose second operand may be a weight.
QUANTIZABLE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
TRANSPOSED = ("ConvTranspose",)
OTHERS = "only convolutions and matrix products with a constant weight are quantised"


@dataclass(frozen=True)
class Quantized:
    """A product to be quantised: its node, the tensor that it reads, its weight, and the axis of the weight's output
    channels."""

    node: str
    tensor: str
    weight: str
    axis: int


@dataclass(frozen=True)
class QuantizePlan:
    """``quantized`` in the order of the graph; ``products`` has every product, quantised or not, in that order
    with the name of its weight, "" if that is computed, and the axis of its output channels.

    ``float32`` gives every other float operator its reason, ``kept`` those of them that the policy alone would have
    quantised.
    """

    quantized: tuple[Quantized, ...]
    products: Mapping[str, tuple[str, int]]
    float32: Mapping[str, str]
    kept: Mapping[str, str]


def plan_quantized(
    model: ir.Model, is_kept: Callable[[str], str] = lambda _name: "", *, precision: str = INT8
) -> QuantizePlan:
    """Decide for every node of ``model`` whether it computes in ``precision``.

    ``is_kept`` gives the reason why the caller wants a node, by its name, in float32.
    """
    pooled = pooled_values(model.graph)
    quantized: list[Quantized] = []
    products: dict[str, tuple[str, int]] = {}
    float32: dict[str, str] = {}
    kept: dict[str, str] = {}
    for node in model.graph:
        if not _computes_floats(node):
            continue
        name = str(node.name)
        if node.op_type not in QUANTIZABLE:
            float32[name] = OTHERS
            continue
        weight = node.inputs[1]
        is_given = weight is not None and weight.producer() is None
        products[name] = (str(weight.name) if weight is not None and is_given else "", output_axis(node))
        found = refusal(node.op_type, precision) or _product(node, pooled)
        if isinstance(found, str):
            float32[name] = found
        elif reason := is_kept(name):
            float32[name] = kept[name] = reason
        else:
            quantized.append(found)
    return QuantizePlan(tuple(quantized), products, float32, kept)


def _product(node: ir.Node, pooled: Container[ir.Value]) -> Quantized | str:
    """The product's operands, or why it stays in float32."""
    kind = node.op_type
    tensor, weight = node.inputs[0], node.inputs[1]
    if tensor is None or weight is None:
        return COMPUTED
    constant = ir.convenience.get_const_tensor(weight)
    scaled = node.attributes.get_float("alpha", 1.0) != 1.0 or node.attributes.get_int("transA", 0) != 0
    reasons = {
        "a transposed convolution is not quantised": kind in TRANSPOSED,
        "its first operand is constant": ir.convenience.get_const_tensor(tensor) is not None,
        COMPUTED: constant is None,
        "a Gemm with a scale or a transposed first operand is not quantised": kind == "Gemm" and scaled,
        "its weight is no matrix": kind == "MatMul" and constant is not None and len(constant.shape) != 2,
        ONCE: tensor in pooled,
    }
    if reason := next((reason for reason, applies in reasons.items() if applies), ""):
        return reason
    return Quantized(str(node.name), str(tensor.name), str(weight.name), output_axis(node))


def output_axis(node: ir.Node) -> int:
    """Return the axis of the output channels in a product's weight."""
    is_first = node.op_type == "Conv" or (node.op_type == "Gemm" and node.attributes.get_int("transB", 0) != 0)
    return 0 if is_first else 1


def pooled_values(graph: ir.Graph) -> set[ir.Value]:
    """Return the values that come from the inputs through a global pooling alone: images and channels are left."""
    from_data: set[ir.Value] = set(graph.inputs)
    found: set[ir.Value] = set()
    for node in graph:
        read = [value for value in node.inputs if value is not None and value in from_data]
        if not read or node.op_type in ("Shape", "Size"):
            continue
        from_data.update(node.outputs)
        if all(value in found for value in read) or _is_global(node):
            found.update(node.outputs)
    return found


def _is_global(node: ir.Node) -> bool:
    if node.op_type in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        return True
    shape = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
    if not node.op_type.startswith("Reduce") or shape is None:
        return False
    axes = list(node.attributes.get_ints("axes", ()))
    if len(node.inputs) > 1:
        given = ir.convenience.get_const_tensor(node.inputs[1]) if node.inputs[1] is not None else None
        axes = [] if given is None else given.numpy().tolist()
    return 0 < len(shape) - len(axes) <= AXES_LEFT < len(shape)


def _computes_floats(node: ir.Node) -> bool:
    if node.op_type in ("Constant", "Shape", "Size"):
        return False
    return any(value.dtype == ir.DataType.FLOAT for value in node.outputs)
