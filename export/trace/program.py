"""The digest of a traced program, and the sizes of its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import torch

from ...core.dimension import Dim
from ...core.tensor_spec import Axis, TensorSpec


def without_raised(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return a traced program without the calls that raised an error which the module caught: they have no value."""
    graph = program.graph_module.graph
    for node in reversed(graph.nodes):
        returns = isinstance(node.target, torch._ops.OpOverload) and node.target._schema.returns
        if returns and not node.users and node.meta.get("val") is None:
            graph.erase_node(node)
    return program


def digest(program: torch.export.ExportedProgram, axes: Mapping[str, Axis]) -> str:
    """Return a SHA-256 over the program's code, the ranges that it holds for, and every tensor that it holds.

    It is equal for equal programs, weights and constants, in any process.
    """
    found = hashlib.sha256()
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            found.update(part.code.encode())
    found.update(repr(program.graph_signature).encode())
    found.update(repr(sorted((name, str(axis)) for name, axis in axes.items())).encode())
    for name, tensor in _tensors(program):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # the bytes of a bfloat16 have no dtype in numpy
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def input_sizes(
    program: torch.export.ExportedProgram, inputs: Sequence[TensorSpec]
) -> Iterator[tuple[Dim, int | torch.SymInt]]:
    """Yield each dimension of the inputs with the size that the program has for it."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    for spec, name in zip(inputs, program.graph_signature.user_inputs, strict=False):
        yield from zip(spec.shape, getattr(values.get(str(name)), "shape", ()), strict=False)


def _tensors(program: torch.export.ExportedProgram) -> Iterator[tuple[str, torch.Tensor]]:
    for held in (program.state_dict, program.constants):
        for name in sorted(held):
            if isinstance(held[name], torch.Tensor):
                yield name, held[name]
