"""Names of a graph's outputs, taken from what the module returns: dict keys, fields and positions, joined by ``_``.

torch.onnx names outputs by their position alone (pytorch/pytorch#165758), renames an input that is an output too, and
leaves two outputs that are one tensor with a name of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import nn
from torch.export.graph_signature import ConstantArgument, OutputKind
from torch.utils._pytree import (
    GetAttrKey,
    KeyPath,
    MappingKey,
    SequenceKey,
    TreeSpec,
    tree_flatten,
    tree_flatten_with_path,
    tree_unflatten,
)

from ...errors import InputError, ModuleRefused
from ...modules.seen_operators import uncompiled
from ...modules.target import Target
from ...modules.user_line import return_line
from .autocast import RefusedAutocast

REAL = (torch.float32, torch.float64, torch.float16, torch.bool, torch.uint8, torch.int8, torch.int16)
DTYPES = frozenset((*REAL, torch.int32, torch.int64))


def run_checked(target: Target, module: nn.Module, inputs: Sequence[torch.Tensor]) -> None:
    """Run ``module`` once; raises ModuleRefused, with the output's name, for an output that no graph can give.

    Whatever the module's own code raises is passed on.
    """
    with torch.no_grad(), uncompiled(), RefusedAutocast(target.name):
        outputs = module(*inputs)
    leaves = _leaves(outputs)
    found = [(leaf_name(path), leaf) for path, leaf in leaves if leaf is not None]
    faults = [f"{name!r}, {fault}" for name, leaf in found if (fault := _fault(leaf))]
    if faults or not found:
        what = faults[0] if faults else "no tensor; return one or more from its forward"
        with torch.no_grad(), uncompiled():  # what is compiled has no lines
            line = return_line(lambda: module(*inputs))
        raise ModuleRefused(f"{target.name}{f' at {line}' if line else ''} returns {what}")


def _fault(leaf: Any) -> str:
    """Return what keeps an output from being one of a graph, and the remedy; "" if nothing does."""
    if isinstance(leaf, torch.Tensor):
        if leaf.layout is not torch.strided:
            return "a sparse tensor; return its .to_dense()"
        if leaf.is_complex():
            return "a tensor of complex numbers, which ONNX has no outputs of; return torch.view_as_real of it"
        if leaf.dtype not in DTYPES:
            return f"a tensor of {str(leaf.dtype).removeprefix('torch.')}; return its .float()"
        return ""
    if isinstance(leaf, (int, float, complex, str, torch.SymInt, torch.SymFloat)):
        return f"{leaf!r}, which is no tensor; keep it out of what forward returns"
    kind, first = type(leaf).__name__, ""
    if is_dataclass(leaf):
        first = f"call torch.export.register_dataclass({kind}) once, which names the outputs by its fields, or "
    return f"a {kind}, which is no tensor; {first}return tensors, in tuples, lists and dicts"


def names_of(outputs: Any) -> list[str]:
    """Return the names of the tensors that a module returned, in their order."""
    leaves = _leaves(outputs)
    return [leaf_name(path) for path, leaf in leaves if isinstance(leaf, torch.Tensor)]


def _leaves(outputs: Any) -> list[tuple[KeyPath, Any]]:
    """Return each leaf of what a module returned, with the keys that lead to it.

    A library may say how its own type is taken apart and not by which keys, as diffusers does: those of a mapping are
    taken, else positions.
    """

    def is_inside(value: Any) -> bool:
        return value is not outputs

    try:
        inner = tree_flatten_with_path(outputs, is_leaf=is_inside)[0]
    except ValueError:
        values, _ = tree_flatten(outputs, is_leaf=is_inside)
        names = isinstance(outputs, Mapping)
        keys: Iterable[Any] = map(MappingKey, outputs) if names else map(SequenceKey, range(len(values)))
        inner = [((key,), value) for key, value in zip(keys, values, strict=True)]
    if all(value is outputs for _, value in inner):
        return inner
    return [((*path, *rest), leaf) for path, value in inner for rest, leaf in _leaves(value)]


def leaf_name(path: KeyPath) -> str:
    """Return the name of the leaf at ``path``: its keys joined by ``_``, with ``output`` first if no key is a word."""
    parts = []
    for key in path:
        if isinstance(key, MappingKey):
            parts.append(str(key.key))
        elif isinstance(key, SequenceKey):
            parts.append(str(key.idx))
        elif isinstance(key, GetAttrKey):
            parts.append(key.name)
    words = [re.sub(r"[^\w.-]+", "_", part) for part in parts]
    return "_".join(words if words and not words[0][:1].isdigit() else ["output", *words])


def output_names(target: Target, program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """Return one name for each tensor that the traced module returns, different from each other and from the inputs'.

    Raises InputError if the target names another number of outputs than the module returns.
    """
    paths = _tensor_paths(program)
    if target.output_names:
        if len(target.output_names) != len(paths):
            raise InputError(
                f"{target.name} returns {len(paths)} tensors, but {len(target.output_names)} output names were given "
                f"({', '.join(target.output_names)}); give one name for each"
            )
        return target.output_names
    if len(paths) == 1 and all(isinstance(key, SequenceKey) for key in paths[0]):
        return distinct(["output"], (spec.name for spec in target.inputs))
    return distinct(map(leaf_name, paths), (spec.name for spec in target.inputs))


def distinct(names: Iterable[str], taken: Iterable[str]) -> tuple[str, ...]:
    """Return ``names``, those that were there before or are ``taken`` with ``_output`` behind them."""
    used = set(taken)
    found = []
    for name in names:
        while name in used:
            name = f"{name}_output"  # noqa: PLW2901
        used.add(name)
        found.append(name)
    return tuple(found)


def _tensor_paths(program: torch.export.ExportedProgram) -> list[KeyPath]:
    spec: TreeSpec = program.call_spec.out_spec
    leaves = _leaves(tree_unflatten(list(range(spec.num_leaves)), spec))
    user = [output.arg for output in program.graph_signature.output_specs if output.kind is OutputKind.USER_OUTPUT]
    return [
        path
        for (path, _), argument in zip(leaves, user, strict=True)
        if not isinstance(argument, ConstantArgument)  # a None among the outputs
    ]


def name_values(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Name the graph's inputs and outputs in order. An output that is an input, a weight or another output becomes the
    result of an Identity, since a graph has one name for each tensor.
    """
    graph = model.graph
    seen: set[int] = {id(value) for value in (*graph.inputs, *graph.initializers.values())}
    for position, value in enumerate(graph.outputs):
        if id(value) in seen:
            copied = ir.node("Identity", [value])
            copied.outputs[0].shape, copied.outputs[0].type = value.shape, value.type
            graph.append(copied)
            graph.outputs[position] = copied.outputs[0]
        seen.add(id(graph.outputs[position]))
    wanted = {*inputs, *outputs}
    named = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for value in _all_values(model):
        if value.name in wanted or id(value) in named:
            value.name = f"{value.name}__inner"
    for value, name in (*zip(graph.inputs, inputs, strict=True), *zip(graph.outputs, outputs, strict=True)):
        value.name = name


def _all_values(model: ir.Model) -> list[ir.Value]:
    inner = [value for node in ir.traversal.RecursiveGraphIterator(model.graph) for value in node.outputs]
    return [*model.graph.inputs, *model.graph.initializers.values(), *inner]
