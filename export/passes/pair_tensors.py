"""Write pairs of QuantizeLinear and DequantizeLinear before planned readers of tensors, and before products' weights.

A tensor is brought to its levels once. Readers in float32 get their numbers from these levels in float32, by another
DequantizeLinear: no cast of a whole map stands between. Types are written by lower_precision.py, for which ``low``
names the nodes of this pass that compute in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ...core.precision import FP32
from ..pair_plan import PairPlan
from .quantize import DEQUANTIZE, QUANTIZE, SCALE, ZERO, constant, scale, weight_scales


class PairTensors(ir.passes.InPlacePass):
    """Rewrite a float32 model in place.

    Args:
        plan: The places of 8 bits and of half precision.
        modules: The PyTorch module of each node, which gains the pairs.
        io_is_half: The model's inputs are to be in half precision.
    """

    def __init__(self, plan: PairPlan, modules: Mapping[str, str], *, io_is_half: bool = False) -> None:
        self._plan, self._io_is_half = plan, io_is_half
        self.modules = dict(modules)
        self.low: set[str] = set()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Insert every pair."""
        self._graph = graph = model.graph
        self._nodes = {str(node.name): node for node in graph}
        used = [value for node in graph for value in node.inputs if value is not None]
        values = {str(value.name): value for value in used}
        for name, readers in self._plan.readers.items():
            self._pair(values[name], readers)
        of_weights: dict[tuple[str, int, bool], ir.Value] = {}
        for product in self._plan.products:
            node, is_low = self._nodes[product.node], product.node in self._plan.half
            key = product.weight, product.axis, is_low
            if key not in of_weights:
                of_weights[key] = self._weight(node, product.axis, is_low=is_low)
            node.replace_input_with(1, of_weights[key])
        return ir.passes.PassResult(model, modified=bool(self._plan.readers))

    def _pair(self, value: ir.Value, readers: tuple[tuple[str, int], ...]) -> None:
        producer, name = value.producer(), str(value.name)
        is_low = self._io_is_half if producer is None else str(producer.name) in self._plan.half
        scales = np.asarray(scale(self._plan.ranges[name], self._plan.form))
        first = min((self._nodes[reader] for reader, _ in readers), key=list(self._graph).index)
        pair = _Pair(value, self._operands(name, scales), first)
        levels = self._quantize(pair, is_low=is_low)
        half = self._plan.half
        for is_half in (True, False):
            wanted = [(self._nodes[reader], index) for reader, index in readers if (reader in half) == is_half]
            if wanted:
                result = self._dequantize(pair, levels, is_low=is_half)
                for node, index in wanted:
                    node.replace_input_with(index, result)

    def _weight(self, node: ir.Node, axis: int, *, is_low: bool) -> ir.Value:
        value = node.inputs[1]
        assert value is not None
        tensor = ir.convenience.get_const_tensor(value)
        assert tensor is not None
        scales = weight_scales(tensor.numpy(), axis, self._plan.form)
        # a weight that is read along either axis, or in both precisions, has a pair for each
        suffix = ("" if axis == 0 else f"_{axis}") + ("" if is_low else f"_{FP32}")
        operands = self._operands(f"{value.name}{suffix}", scales)
        pair = _Pair(value, operands, node, (ir.AttrInt64("axis", axis),), suffix)
        # in float32, rounded once
        return self._dequantize(pair, self._quantize(pair, is_low=False), is_low=is_low)

    def _operands(self, name: str, scales: np.ndarray) -> list[ir.Value]:
        zeros = np.zeros(scales.shape, ir.DataType[self._plan.form.onnx_type].numpy())
        return [constant(self._graph, f"{name}{SCALE}", scales), constant(self._graph, f"{name}{ZERO}", zeros)]

    def _quantize(self, pair: _Pair, *, is_low: bool) -> ir.Value:
        name, dtype = f"{pair.value.name}{pair.suffix}", ir.DataType[self._plan.form.onnx_type]
        made = ir.Value(name=f"{name}_int8", type=ir.TensorType(dtype), shape=pair.value.shape)
        node = pair.node("QuantizeLinear", f"{QUANTIZE}{name}", pair.value, made)
        return self._inserted(node, pair.before, is_low=is_low)

    def _dequantize(self, pair: _Pair, levels: ir.Value, *, is_low: bool) -> ir.Value:
        end = pair.suffix if is_low or pair.suffix.endswith(FP32) else f"{pair.suffix}_{FP32}"
        name, dtype = f"{pair.value.name}{end}", ir.DataType.FLOAT
        made = ir.Value(name=f"{name}_dequantized", type=ir.TensorType(dtype), shape=pair.value.shape)
        node = pair.node("DequantizeLinear", f"{DEQUANTIZE}{name}", levels, made)
        return self._inserted(node, pair.before, is_low=is_low)

    def _inserted(self, node: ir.Node, before: ir.Node, *, is_low: bool) -> ir.Value:
        """Return the result of a node that is put before another."""
        self._graph.insert_before(before, node)
        if is_low:
            self.low.add(str(node.name))
        if path := self.modules.get(str(before.name)):
            self.modules[str(node.name)] = path
        return node.outputs[0]


class _Pair(NamedTuple):
    """A tensor that is brought to levels and back, with the scale and the zero of these, before its first reader."""

    value: ir.Value
    operands: list[ir.Value]
    before: ir.Node
    attributes: tuple[ir.Attr, ...] = ()
    suffix: str = ""

    def node(self, kind: str, name: str, read: ir.Value, made: ir.Value) -> ir.Node:
        """Return a node of the pair."""
        return ir.Node("", kind, [read, *self.operands], list(self.attributes), outputs=[made], name=name)
