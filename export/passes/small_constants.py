"""Keep additions of a small constant, and factors near one, through the exporter's own optimisation.

onnxscript's rewriter takes a constant within 1e-8 of 0, or within 1e-5 of 1, for that number, and removes ``x + 1e-9``
as ``x + 0``: a guard against a division by zero is gone, and what was 0 / 1e-9 becomes 0 / 0 (the rules add_0, sub_0,
mul_by_1 and div_by_1, extended in microsoft/onnxscript#1813; no thread tells of the tolerance). While such constants
are inputs of the graph, no rule sees their values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
# a little wider than onnxscript's own
_ABSOLUTE, _RELATIVE = 1e-7, 1e-4


@contextmanager
def hidden_constants(model: ir.Model) -> Iterator[None]:
    """While active, constants that are nearly but not exactly neutral are inputs of ``model``."""
    graph, hidden = model.graph, dict[str, ir.TensorProtocol]()
    for node in list(graph):
        if node.domain not in ("", "ai.onnx") or node.op_type not in _NEUTRAL:
            continue
        for index, value in enumerate(node.inputs):
            tensor = None if value is None else ir.convenience.get_const_tensor(value)
            if tensor is not None and _is_nearly(tensor, _NEUTRAL[node.op_type]):
                name, shape = f"small_constant_{len(hidden)}", ir.Shape(list(tensor.numpy().shape))
                stand_in = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape)
                hidden[name] = tensor
                graph.inputs.append(stand_in)
                node.replace_input_with(index, stand_in)
    try:
        yield
    finally:
        for value in [value for value in graph.inputs if value.name in hidden]:
            graph.inputs.remove(value)
            value.const_value = ir.tensor(hidden[str(value.name)].numpy(), name=value.name)
            graph.register_initializer(value)


def _is_nearly(tensor: ir.TensorProtocol, neutral: float) -> bool:
    if tensor.size != 1 or not tensor.dtype.is_floating_point():
        return False
    value = float(tensor.numpy().reshape(()))
    return value != neutral and math.isclose(value, neutral, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
