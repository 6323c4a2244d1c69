"""``torch.vmap``, traced away: a program of torch.export keeps it as calls that open and close a level.

Those calls change the state of the process, and leave it changed if an operator between them raises. torch.onnx has no
form of them. Derivatives (``torch.func.grad``, ``jvp``) are kept in the same way and cannot be traced again.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch._functorch import predispatch

from ...errors import ModuleRefused
from ...modules.user_line import line_of_text
from ..node_line import at

_DERIVATIVES = frozenset({"_grad_increment_nesting", "_jvp_increment_nesting", "_make_dual", "_unwrap_for_grad"})


def without_transforms(name: str, program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return ``program`` with operators of whole batches in place of ``torch.vmap``.

    Raises ModuleRefused, with the ``name`` of the target, if it takes derivatives.
    """
    calls = [node for node in _nodes(program) if getattr(node.target, "__module__", "") == predispatch.__name__]
    for node in calls:
        if node.target.__name__ in _DERIVATIVES:  # type: ignore[union-attr]
            raise ModuleRefused(
                f"{name} takes derivatives{at(line_of_text(node.meta.get('stack_trace') or ''))}, which a graph "
                "cannot; write the derivative out, or compute it before or after the graph"
            )
    return program.run_decompositions({}) if calls else program


def _nodes(program: torch.export.ExportedProgram) -> Iterator[torch.fx.Node]:
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            yield from part.graph.nodes
