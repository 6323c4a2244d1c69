"""Write pairs of QuantizeLinear and DequantizeLinear before planned readers of tensors, and before products' weights.

A tensor is brought to its levels once. Readers in float32 get their numbers from these levels in float32, by another
DequantizeLinear: no cast of a whole map stands between. Types are written by lower_precision.py, for which ``low``
names the nodes of this pass that compute in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ...core.precision import FP32, Precision
from .pairs import Pairs
from .quantize import DEQUANTIZE, QUANTIZE, SCALE, ZERO, constant, scale, weight_scales
from .quantize_policy import QuantizePlan


class PairTensors(ir.passes.InPlacePass):
    """Rewrite a float32 model in place.

    Args:
        planned: The products.
        pairs: The tensors with their readers.
        ranges: The largest magnitude of each.
        half: The names of the nodes that are to compute in half precision.
        modules: The PyTorch module of each node, which gains the pairs.
        form: The 8-bit format.
        io_is_half: The model's inputs are to be in half precision.
    """

    def __init__(
        self,
        planned: QuantizePlan,
        pairs: Pairs,
        ranges: Mapping[str, float],
        half: frozenset[str],
        modules: Mapping[str, str],
        form: Precision,
        *,
        io_is_half: bool = False,
    ) -> None:
        self._planned, self._pairs, self._ranges, self._form = planned, pairs, ranges, form
        self._half, self._io_is_half = half, io_is_half
        self.modules = dict(modules)
        self.low: set[str] = set()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Insert every pair."""
        graph = model.graph
        self._nodes = {str(node.name): node for node in graph}
        used = [value for node in graph for value in node.inputs if value is not None]
        values = {str(value.name): value for value in used}
        for name, readers in self._pairs.readers.items():
            self._pair(graph, values[name], readers)
        of_weights: dict[tuple[str, int, bool], ir.Value] = {}
        for product in self._planned.quantized:
            node, is_low = self._nodes[product.node], product.node in self._half
            key = product.weight, product.axis, is_low
            if key not in of_weights:
                of_weights[key] = self._weight(graph, node, product.axis, is_low=is_low)
            node.replace_input_with(1, of_weights[key])
        return ir.passes.PassResult(model, modified=bool(self._pairs.readers))

    def _pair(self, graph: ir.Graph, value: ir.Value, readers: tuple[tuple[str, int], ...]) -> None:
        producer = value.producer()
        is_low = self._io_is_half if producer is None else str(producer.name) in self._half
        scales = np.asarray(scale(self._ranges[str(value.name)], self._form))
        operands = self._operands(graph, str(value.name), scales)
        first = min((self._nodes[name] for name, _ in readers), key=list(graph).index)
        levels = self._quantize(graph, value, operands, (), before=first, is_low=is_low)
        for is_half in (True, False):
            wanted = [(self._nodes[name], index) for name, index in readers if (name in self._half) == is_half]
            if wanted:
                result = self._dequantize(graph, value, levels, operands, (), before=first, is_low=is_half)
                for node, index in wanted:
                    node.replace_input_with(index, result)

    def _weight(self, graph: ir.Graph, node: ir.Node, axis: int, *, is_low: bool) -> ir.Value:
        value = node.inputs[1]
        assert value is not None
        tensor = ir.convenience.get_const_tensor(value)
        assert tensor is not None
        scales = weight_scales(tensor.numpy(), axis, self._form)
        attributes = (ir.AttrInt64("axis", axis),)
        # a weight that is read along either axis, or in both precisions, has a pair for each
        suffix = ("" if axis == 0 else f"_{axis}") + ("" if is_low else f"_{FP32}")
        operands = self._operands(graph, f"{value.name}{suffix}", scales)
        # in float32, rounded once
        levels = self._quantize(graph, value, operands, attributes, before=node, is_low=False, suffix=suffix)
        return self._dequantize(graph, value, levels, operands, attributes, before=node, is_low=is_low, suffix=suffix)

    def _operands(self, graph: ir.Graph, name: str, scales: np.ndarray) -> list[ir.Value]:
        zeros = np.zeros(scales.shape, ir.DataType[self._form.onnx_type].numpy())
        return [constant(graph, f"{name}{SCALE}", scales), constant(graph, f"{name}{ZERO}", zeros)]

    def _quantize(
        self,
        graph: ir.Graph,
        value: ir.Value,
        operands: list[ir.Value],
        attributes: tuple[ir.Attr, ...],
        *,
        before: ir.Node,
        is_low: bool,
        suffix: str = "",
    ) -> ir.Value:
        dtype = ir.DataType[self._form.onnx_type]
        made = ir.Value(name=f"{value.name}{suffix}_int8", type=ir.TensorType(dtype), shape=value.shape)
        name = f"{QUANTIZE}{value.name}{suffix}"
        self._insert(graph, "QuantizeLinear", name, [value, *operands], attributes, made, before, is_low=is_low)
        return made

    def _dequantize(
        self,
        graph: ir.Graph,
        value: ir.Value,
        levels: ir.Value,
        operands: list[ir.Value],
        attributes: tuple[ir.Attr, ...],
        *,
        before: ir.Node,
        is_low: bool,
        suffix: str = "",
    ) -> ir.Value:
        end = suffix if is_low or suffix.endswith(FP32) else f"{suffix}_{FP32}"
        made = ir.Value(name=f"{value.name}{end}_dequantized", type=ir.TensorType(ir.DataType.FLOAT), shape=value.shape)
        name = f"{DEQUANTIZE}{value.name}{end}"
        self._insert(graph, "DequantizeLinear", name, [levels, *operands], attributes, made, before, is_low=is_low)
        return made

    def _insert(
        self,
        graph: ir.Graph,
        kind: str,
        name: str,
        read: list[ir.Value],
        attributes: tuple[ir.Attr, ...],
        made: ir.Value,
        before: ir.Node,
        *,
        is_low: bool,
    ) -> None:
        graph.insert_before(before, ir.Node("", kind, read, list(attributes), outputs=[made], name=name))
        if is_low:
            self.low.add(name)
        if path := self.modules.get(str(before.name)):
            self.modules[name] = path
