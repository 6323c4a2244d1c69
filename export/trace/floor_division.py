"""Division of sizes that rounds down below zero as well: ``-(-h // 2)``, the common way to round up.

torch.onnx writes ``//`` of sizes as ONNX's Div, which rounds towards zero. Without its remainder a number divides
exactly, whatever the signs; the remainder of ONNX's Mod has the sign of the divisor, as Python's has.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import Node
from torch.utils._sympy.value_ranges import bound_sympy


def round_down(program: torch.export.ExportedProgram) -> None:
    """Make every division of sizes exact whose operands may be negative, in place."""
    found = [node for node in program.graph.nodes if node.target is operator.floordiv and _may_be_negative(node)]
    for node in found:
        value, divisor = node.args
        with program.graph.inserting_before(node):
            rest = _inserted(program, operator.mod, value, divisor)
            node.args = (_inserted(program, operator.sub, value, rest), divisor)
    if found:
        program.graph_module.recompile()


def _inserted(program: torch.export.ExportedProgram, function: Any, *operands: Any) -> Node:
    node: Node = program.graph.call_function(function, operands)
    values = [operand.meta["val"] if isinstance(operand, Node) else operand for operand in operands]
    node.meta["val"] = function(*values)
    return node


def _may_be_negative(node: Node) -> bool:
    return any(_least(operand) < 0 for operand in node.args)


def _least(operand: Any) -> Any:
    """Return the least value of a size within the ranges of the trace."""
    value = operand.meta["val"] if isinstance(operand, Node) else operand
    if not isinstance(value, torch.SymInt):
        return value
    sizes = value.node.shape_env
    assert sizes is not None
    return bound_sympy(value.node.expr, sizes.var_to_range).lower
