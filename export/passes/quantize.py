"""Write 8-bit operands into a graph: a QuantizeLinear/DequantizeLinear pair before both operands of planned products.

Symmetric, zero at zero, as TensorRT wants it: one scale for what a product reads, and one for its weight or, as the
format has it, for each output channel. Weights stay float32 behind their pair, since TensorRT 8.6 quantises them itself
and reads no others; a runtime folds the pair away. A tensor that several products read has one pair.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ...core.precision import PRECISIONS, Precision
from .quantize_policy import Quantized, QuantizePlan

QUANTIZE, DEQUANTIZE = "quantize_", "dequantize_"
SCALE, ZERO = "_scale", "_zero"


def scale(largest: float, form: Precision) -> np.float32:
    """Return the scale for values up to ``largest``: the value that 1 stands for in the format."""
    return np.float32(_held(np.asarray(largest / form.largest), form))


def weight_scales(weight: np.ndarray, axis: int, form: Precision) -> np.ndarray:
    """Return the scale of every output channel or, as the format has it, of the whole weight; 1 for zeros."""
    others = tuple(other for other in range(weight.ndim) if other != axis) if form.per_channel else None
    largest = np.abs(weight.astype(np.float64)).max(axis=others)
    return _held(np.where(largest > 0, largest / form.largest, 1.0), form)


def _held(scales: np.ndarray, form: Precision) -> np.ndarray:
    """Return scales that the precision of the rest has: the next larger ones if it is float16."""
    wide = scales.astype(np.float32)
    if not form.is_placed:
        return wide
    dtype = np.dtype(PRECISIONS[form.rest].dtype)
    narrow = wide.astype(dtype)
    less = narrow.astype(np.float64) < wide
    return np.where(less, np.nextafter(narrow, dtype.type(np.inf)), narrow).astype(np.float32)


class Quantize(ir.passes.InPlacePass):
    """Rewrite a float32 model in place; ``ranges`` are the largest magnitudes of the tensors that products read.

    ``modules`` (node → PyTorch module path) gains the pairs, each in the module of its first reader.
    """

    def __init__(
        self, plan: QuantizePlan, ranges: Mapping[str, float], modules: Mapping[str, str], form: Precision
    ) -> None:
        self._plan = plan
        self._form = form
        self._ranges = ranges
        self.modules = dict(modules)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Quantise both operands of every product of the plan."""
        graph = model.graph
        nodes = {str(node.name): node for node in graph}
        pairs: dict[tuple[str, int | None], ir.Value] = {}
        for product in self._plan.quantized:
            node = nodes[product.node]
            for index, key in enumerate(((product.tensor, None), (product.weight, product.axis))):
                if key not in pairs:
                    pairs[key] = self._pair(graph, node, index, product, key[1])
                node.replace_input_with(index, pairs[key])
        return ir.passes.PassResult(model, modified=bool(pairs))

    def _pair(self, graph: ir.Graph, node: ir.Node, index: int, product: Quantized, axis: int | None) -> ir.Value:
        value = node.inputs[index]
        assert value is not None
        # A weight that is read along either axis has a pair for each.
        name = f"{value.name}" if axis in (None, 0) else f"{value.name}_{axis}"
        scales = np.asarray(scale(self._ranges[product.tensor], self._form))
        if axis is not None:
            tensor = ir.convenience.get_const_tensor(value)
            assert tensor is not None
            scales = weight_scales(tensor.numpy(), axis, self._form)
        attributes = [ir.AttrInt64("axis", axis)] if axis is not None and scales.ndim else []
        dtype = ir.DataType[self._form.onnx_type]
        operands = [
            constant(graph, f"{name}{SCALE}", scales),
            constant(graph, f"{name}{ZERO}", np.zeros(scales.shape, dtype.numpy())),
        ]
        levels = ir.Value(name=f"{name}_{self._form.name}", type=ir.TensorType(dtype), shape=value.shape)
        result = ir.Value(name=f"{name}_dequantized", type=ir.TensorType(ir.DataType.FLOAT), shape=value.shape)
        quantize = ir.Node(
            "", "QuantizeLinear", [value, *operands], attributes, outputs=[levels], name=f"{QUANTIZE}{name}"
        )
        dequantize = ir.Node(
            "", "DequantizeLinear", [levels, *operands], attributes, outputs=[result], name=f"{DEQUANTIZE}{name}"
        )
        graph.insert_before(node, [quantize, dequantize])
        if path := self.modules.get(product.node):
            self.modules |= {str(quantize.name): path, str(dequantize.name): path}
        return result


def drop_unused(graph: ir.Graph, value: ir.Value) -> None:
    """Take a constant out of the graph that nothing reads any more."""
    if value.is_initializer() and not value.uses() and not value.is_graph_output():
        graph.initializers.pop(str(value.name))


def constant(graph: ir.Graph, name: str, numbers: np.ndarray) -> ir.Value:
    value = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.from_numpy(numbers.dtype)),
        shape=ir.Shape(numbers.shape),
        const_value=ir.tensor(numbers, name=name),
    )
    graph.register_initializer(value)
    return value
