"""An integer tensor and a number that is computed from sizes: ``torch.arange(h) * (h / 2)``, as of relative positions.

PyTorch computes that in a float type, to which the tensor goes first. torch.onnx takes the number for one of the
tensor's type, which it cannot convert a symbolic one to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

_CHOOSING = (torch.ops.aten.where, torch.ops.aten.masked_fill)


def promote(program: torch.export.ExportedProgram) -> None:
    """Convert the integer tensors of each such operator to the type of its result, in place."""
    found = [node for node in program.graph.nodes if _has_symbolic_float(node) and _gives_float(node)]
    for node in found:
        for number in list(_integers(node)):
            with program.graph.inserting_before(node):
                converted: Node = program.graph.call_function(torch.ops.aten.to.dtype, (number, node.meta["val"].dtype))
            converted.meta = {**node.meta, "val": number.meta["val"].to(node.meta["val"].dtype)}
            node.replace_input_with(number, converted)
    if found:
        program.graph_module.recompile()


def _has_symbolic_float(node: Node) -> bool:
    """Return True for an operator by element that is given a number that sizes decide."""
    operator: Any = node.target
    is_by_element = isinstance(operator, OpOverload) and (
        torch.Tag.pointwise in operator.tags or operator is torch.ops.aten.floor_divide.default
    )
    return is_by_element and any(isinstance(one.meta.get("val"), torch.SymFloat) for one in node.all_input_nodes)


def _gives_float(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _integers(node: Node) -> Iterator[Node]:
    """Yield the tensors of whole numbers or booleans that ``node`` computes with; those by which it chooses stay."""
    chooses = getattr(node.target, "overloadpacket", None) in _CHOOSING
    for one in node.all_input_nodes:
        value = one.meta.get("val")
        if not isinstance(value, torch.Tensor) or value.is_floating_point() or value.is_complex():
            continue
        if not (chooses and value.dtype is torch.bool):
            yield one
