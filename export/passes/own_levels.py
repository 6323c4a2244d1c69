"""Ready the 8-bit levels of a graph that quantises itself for half precision: the same integers in either type.

What gives levels back is read in float32 and in half precision: each gets a DequantizeLinear of its own in place of a
Cast of the whole map. A weight is rounded, and so is its step: both together would tip one number in a hundred to the
next level. It becomes the numbers that its levels stand for by the rounded step, which no rounding takes off them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from ...core.operators import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR, SIZES_ALONE
from ...core.precision import Precision
from .float_policy import rounded_to, unfit_steps
from .quantize import constant, drop_unused

if TYPE_CHECKING:
    import onnx

# The names of nodes that give the levels of another DequantizeLinear in the other type begin so.
AGAIN = "dequantize_again_"


class OwnLevels(ir.passes.InPlacePass):
    """Rewrite a model in place whose nodes ``low`` are to compute in the precision ``kind``.

    ``low`` gains the nodes that give levels again in the precision; ``modules`` (node → PyTorch module path) all that
    are new. ``io_is_low`` says that the graph's outputs have the precision.
    """

    def __init__(self, low: frozenset[str], kind: Precision, modules: Mapping[str, str], *, io_is_low: bool) -> None:
        self.low = set(low)
        self._kind = kind
        self._io_is_low = io_is_low
        self.modules = dict(modules)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Give levels in both types where both are read, and put constants on the levels of the rounded steps."""
        for node in list(model.graph):
            if node.op_type == DEQUANTIZE_LINEAR:
                self._split(model.graph, node)
            elif node.op_type == QUANTIZE_LINEAR and self._is_low(node):
                _put_on_levels(model.graph, node, self._kind)
        return ir.passes.PassResult(model, modified=True)

    def _is_low(self, node: ir.Node) -> bool:
        return str(node.name) in self.low

    def _split(self, graph: ir.Graph, node: ir.Node) -> None:
        """Add a second node for the readers that want the other type."""
        levels_by, value = node.inputs[1], node.outputs[0]
        step = None if levels_by is None else ir.convenience.get_const_tensor(levels_by)
        by_type: dict[bool, list[tuple[ir.Node, int]]] = {True: [], False: []}
        for reader, index in value.uses():
            if reader.op_type not in SIZES_ALONE:
                by_type[self._is_low(reader)].append((reader, index))
        stays = self._io_is_low if value.is_graph_output() else self._is_low(node)
        others = by_type[not stays]
        if not others or step is None or unfit_steps(step.numpy(), self._kind):
            return
        self.low.discard(str(node.name))
        name = f"{AGAIN}{node.name}"
        self.low.add(str(node.name) if stays else name)
        made = ir.Value(name=f"{value.name}_again", type=ir.TensorType(ir.DataType.FLOAT), shape=value.shape)
        again = ir.Node("", node.op_type, node.inputs, list(node.attributes.values()), outputs=[made], name=name)
        graph.insert_after(node, again)
        for reader, index in others:
            reader.replace_input_with(index, made)
        if path := self.modules.get(str(node.name)):
            self.modules[name] = path


def _put_on_levels(graph: ir.Graph, node: ir.Node, kind: Precision) -> None:
    """Put a constant that a quantiser reads on the levels of the rounded step."""
    tensors = [None if value is None else ir.convenience.get_const_tensor(value) for value in node.inputs]
    if any(tensor is None for tensor in tensors):
        return
    there = ir.to_proto(node)
    back = type(there)(op_type=DEQUANTIZE_LINEAR, input=there.output, output=["numbers"], attribute=there.attribute)
    back.input.extend(there.input[1:])
    given = {name: tensor.numpy() for name, tensor in zip(there.input, tensors, strict=True) if tensor is not None}
    given[there.output[0]] = _run(there, given)
    given[there.input[1]] = rounded_to(given[there.input[1]], kind).astype(np.float32)
    numbers = _run(back, given)
    given_up = node.inputs[0]
    node.replace_input_with(0, constant(graph, f"{there.input[0]}_of_{node.name}", numbers))
    if given_up is not None:
        drop_unused(graph, given_up)


def _run(node: onnx.NodeProto, given: Mapping[str, np.ndarray]) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    found: np.ndarray = ReferenceEvaluator(node).run(None, {name: given[name] for name in node.input})[0]  # type: ignore[index]
    return found
