"""Keep additions of a small constant, and factors near one, through the exporter's own optimisation.

onnxscript's rewriter takes a constant within 1e-8 of 0, or within 1e-5 of 1, for that number, and removes ``x + 1e-9``
as ``x + 0``: a guard against a division by zero is gone, and what was 0 / 1e-9 becomes 0 / 0 (the rules add_0, sub_0,
mul_by_1 and div_by_1, extended in microsoft/onnxscript#1813; no thread tells of the tolerance). While such constants
are inputs of the graph, no rule sees their values.
"""

from __future__ import annotations

import math
from types import TracebackType

import onnx_ir as ir

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
# a little wider than onnxscript's own
_ABSOLUTE, _RELATIVE = 1e-7, 1e-4


class HiddenConstants:
    """While active, constants that are nearly but not exactly neutral are inputs of ``model``."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._tensors: dict[str, ir.TensorProtocol] = {}

    def __enter__(self) -> HiddenConstants:
        for node in list(self._graph):
            if node.domain not in ("", "ai.onnx") or node.op_type not in _NEUTRAL:
                continue
            for index, value in enumerate(node.inputs):
                tensor = None if value is None else ir.convenience.get_const_tensor(value)
                if tensor is not None and _is_nearly(tensor, _NEUTRAL[node.op_type]):
                    node.replace_input_with(index, self._hidden(tensor))
        return self

    def _hidden(self, tensor: ir.TensorProtocol) -> ir.Value:
        name = f"small_constant_{len(self._tensors)}"
        self._tensors[name] = tensor
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(list(tensor.numpy().shape)))
        self._graph.inputs.append(value)
        return value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for value in [value for value in self._graph.inputs if value.name in self._tensors]:
            self._graph.inputs.remove(value)
            value.const_value = ir.tensor(self._tensors[str(value.name)].numpy(), name=value.name)
            self._graph.register_initializer(value)


def _is_nearly(tensor: ir.TensorProtocol, neutral: float) -> bool:
    if tensor.size != 1 or not tensor.dtype.is_floating_point():
        return False
    value = float(tensor.numpy().reshape(()))
    return value != neutral and math.isclose(value, neutral, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
