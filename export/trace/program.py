"""The digest of a traced program: equal for equal programs, weights and constants, in any process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch

from ...core.tensor_spec import Axis


def digest(program: torch.export.ExportedProgram, axes: Mapping[str, Axis]) -> str:
    """SHA-256 over the program's code, the ranges that it holds for, and every tensor that it holds."""
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


def _tensors(program: torch.export.ExportedProgram) -> Iterator[tuple[str, torch.Tensor]]:
    for held in (program.state_dict, program.constants):
        for name in sorted(held):
            if isinstance(held[name], torch.Tensor):
                yield name, held[name]
