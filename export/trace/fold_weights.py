"""Compute what a trace makes of weights alone, if torch.onnx has no translation for it or a wrong one.

Parametrised weights (weight_norm, spectral_norm, orthogonal, any other) are functions of parameters: constants, however
they are computed. torch.onnx has no matrix exponential, and its weight_norm of a vector is wrong
(pytorch/pytorch#191749). The rest is left to it, so that every node keeps its module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import Node
from torch.utils._pytree import tree_map

# Translated, and wrongly for some shapes.
DISTRUSTED = frozenset({"aten._weight_norm", "aten._weight_norm_interface", "aten.norm_except_dim"})
NAME = "computed_weight_{}"


def fold_weights(program: torch.export.ExportedProgram, *, distrusted_alone: bool) -> bool:
    """Replace results that depend on weights alone by their values, in place; returns True if there were any.

    Those of operators that are ``DISTRUSTED``, or all of them.
    """
    constants = Constants(program)
    ends: list[Node] = []
    for node in constants.computed:
        if not distrusted_alone or str(node.target).rpartition(".")[0] in DISTRUSTED:
            ends += _tensors(node)
    if not distrusted_alone:  # the last ones alone: what they are computed from goes with them
        ends = [node for node in ends if any(user not in constants for user in node.users)]
    for node in ends:
        value = constants.value(node)
        constants.add(put_constant(program, node, value), value)  # another end may be computed from it
    if ends:
        program.graph.eliminate_dead_code()
        program.graph_module.recompile()
    return bool(ends)


class Constants:
    """The nodes of a program that depend on weights alone; ``computed`` are those that are no weights themselves."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self._values: dict[Node, Any] = _weights(program)
        self._nodes = set(self._values)
        self.computed: list[Node] = []
        for node in program.graph.nodes:
            if node.op == "call_function" and _is_of(node, self._nodes):
                self._nodes.add(node)
                self.computed.append(node)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def add(self, node: Node, value: Any) -> None:
        """Take in a constant that was put into the program."""
        self._nodes.add(node)
        self._values[node] = value

    def value(self, node: Node) -> Any:
        """Return what a node computes, once."""
        with torch.no_grad():
            return _value(node, self._values)


def _weights(program: torch.export.ExportedProgram) -> dict[Node, Any]:
    """The tensors of the placeholders that stand for parameters, buffers and constants."""
    signature = program.graph_signature
    named: Mapping[str, str] = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    held: Mapping[str, Any] = {**program.constants, **program.state_dict}
    placeholders = (node for node in program.graph.nodes if node.op == "placeholder")
    return {node: held[named[node.name]] for node in placeholders if named.get(node.name) in held}


def _is_of(node: Node, constant: set[Node]) -> bool:
    """Return True if ``node`` computes from ``constant`` nodes alone, changes none of them and draws nothing."""
    schema = getattr(node.target, "_schema", None)
    is_random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    changes = schema is not None and schema.is_mutable and node.target is not torch.ops.aten.detach_.default
    if is_random or changes:
        return False
    return constant.issuperset(node.all_input_nodes)


def _tensors(node: Node) -> Iterator[Node]:
    """``node`` or, if it gives several tensors, the nodes that pick one of them."""
    if isinstance(node.meta.get("val"), torch.Tensor):
        yield node
    elif isinstance(node.meta.get("val"), (tuple, list)):
        yield from (user for user in node.users if isinstance(user.meta.get("val"), torch.Tensor))


def _value(node: Node, computed: dict[Node, Any]) -> Any:
    """Compute ``node`` and, once each, what it is computed from."""
    waiting = [node]
    while waiting:
        current = waiting[-1]
        missing = [one for one in current.all_input_nodes if one not in computed]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        if current not in computed:
            args, kwargs = tree_map(
                lambda given: computed[given] if isinstance(given, Node) else given, (current.args, current.kwargs)
            )
            computed[current] = current.target(*args, **kwargs)  # type: ignore[operator]
    return computed[node]


def put_constant(program: torch.export.ExportedProgram, node: Node, value: torch.Tensor) -> Node:
    """Put a constant tensor in the place of ``node``, and return it."""
    signature, graph = program.graph_signature, program.graph
    held = {*program.constants, *program.state_dict}
    target = next(name for number in range(len(held) + 1) if (name := NAME.format(number)) not in held)
    with graph.inserting_before(next(iter(graph.nodes))):
        constant: Node = graph.placeholder(target)
    constant.meta["val"] = node.meta["val"]
    program.constants[target] = value.detach().clone()
    signature.input_specs.insert(0, InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(constant.name), target, None))
    node.replace_all_uses_with(constant)
    return constant
