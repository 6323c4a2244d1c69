"""Write half precision into a graph: lowered nodes get half-precision operands, the others float32 ones.

Every value exists once in the precision of the node that makes it, and at most once more in the other, behind one Cast
that all its readers share. Constants are rounded in place of being cast. The graph's own inputs and outputs stay
float32, or have the half precision if that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ...core.graph_io import FLOAT32
from ...core.operators import SIZES_ALONE
from ...core.precision import FP32, Precision
from .float_policy import ALWAYS_FLOAT32, FloatPlan, rounded_to
from .quantize import drop_unused

CAST = "cast_to_"


class LowerPrecision(ir.passes.InPlacePass):
    """Rewrite a float32 model in place so that the nodes that ``plan.low`` names compute in ``low``.

    ``modules`` (node → PyTorch module path) gains the casts, each in the module of the node that it stands beside.
    ``io`` is the type of the inputs and outputs that the model has in float32.
    """

    def __init__(self, plan: FloatPlan, low: Precision, modules: Mapping[str, str], *, io: str = FLOAT32) -> None:
        self._plan = plan
        self._low, self._dtype = low, ir.DataType[low.onnx_type]
        self._io_is_low = io == low.dtype
        self.modules = dict(modules)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Lower every node of the plan; bodies of If and Loop read float32."""
        graph = model.graph
        for value in [*graph.initializers.values(), *(value for node in graph for value in node.outputs)]:
            if ir.convenience.get_const_tensor(value) is not None:
                self._round_constant(graph, value)
        for value in list(graph.inputs):
            self._convert(graph, value)
        for node in list(graph):
            for value in node.outputs:
                if ir.convenience.get_const_tensor(value) is None:
                    self._convert(graph, value)
        for node in list(graph):
            if node.op_type == "Constant" and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                graph.remove(node)
        return ir.passes.PassResult(model, modified=True)

    def _is_low(self, node: ir.Node | None) -> bool:
        return node is not None and str(node.name) in self._plan.low

    def _readers(self, value: ir.Value, *, low: bool) -> list[tuple[ir.Node, int]]:
        """The uses of a value that want it in half precision, or those that want it in float32.

        What reads its sizes alone takes it in any type.
        """
        return [
            (node, index)
            for node, index in value.uses()
            if node.op_type not in SIZES_ALONE
            and low == (self._is_low(node) and index not in ALWAYS_FLOAT32.get(node.op_type, ()))
        ]

    def _round_constant(self, graph: ir.Graph, value: ir.Value) -> None:
        tensor = ir.convenience.get_const_tensor(value)
        readers = self._readers(value, low=True)
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or not readers:
            return
        name = f"{value.name}_{self._low.name}"
        rounded = ir.tensor(rounded_to(tensor.numpy(), self._low), dtype=self._dtype, name=name)
        lowered = ir.Value(
            name=name, type=ir.TensorType(self._dtype), shape=ir.Shape(tensor.numpy().shape), const_value=rounded
        )
        graph.register_initializer(lowered)
        for node, index in readers:
            node.replace_input_with(index, lowered)
        drop_unused(graph, value)

    def _convert(self, graph: ir.Graph, value: ir.Value) -> None:
        if value.dtype != ir.DataType.FLOAT:
            return
        producer = value.producer()
        is_low = self._io_is_low if producer is None else self._is_low(producer)
        readers = self._readers(value, low=not is_low)
        is_output = is_low != self._io_is_low and value.is_graph_output()
        if is_low:
            value.type = ir.TensorType(self._dtype)
        if not readers and not is_output:
            return
        cast = self._cast(value, to_low=not is_low, beside=producer or readers[0][0])
        if is_output:
            graph.outputs[graph.outputs.index(value)] = cast.outputs[0]
            cast.outputs[0].name, value.name = value.name, f"{value.name}_{self._low.name if is_low else FP32}"
        if producer is None:
            graph.insert_before(graph[0], cast)
        else:
            graph.insert_after(producer, cast)
        for node, index in readers:
            node.replace_input_with(index, cast.outputs[0])

    def _cast(self, value: ir.Value, *, to_low: bool, beside: ir.Node) -> ir.Node:
        target = self._dtype if to_low else ir.DataType.FLOAT
        suffix = self._low.name if to_low else FP32
        made = ir.Value(name=f"{value.name}_{suffix}", type=ir.TensorType(target), shape=value.shape)
        name = f"{CAST}{suffix}_{value.name}"
        if path := self.modules.get(str(beside.name)):
            self.modules[name] = path
        return ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(target))], outputs=[made], name=name)
