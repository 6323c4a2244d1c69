"""What ``torch.onnx.export`` writes by itself, with none of our steps: the baseline that our graph is timed beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ...errors import ModuleRefused
from ...modules.target import Target
from .exporter import example_inputs, for_signature, quiet


def export_plainly(target: Target, module: nn.Module, path: Path, output_names: Sequence[str]) -> Path:
    """Write ``module`` to ``path`` with the same names and dynamic axes as ours, at the exporter's own opset.

    Raises ModuleRefused with the exporter's reason where it refuses.
    """
    dynamic: tuple[dict[int, object], ...] = tuple(
        {place: torch.export.Dim.DYNAMIC for place, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in target.inputs
    )
    try:
        with quiet(), torch.no_grad():
            torch.onnx.export(
                module,
                example_inputs(target),
                path,
                input_names=[spec.name for spec in target.inputs],
                output_names=list(output_names),
                dynamic_shapes=for_signature(module, dynamic) if any(dynamic) else None,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch and the module's own code may raise anything
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        raise ModuleRefused(f"torch.onnx.export refuses {target.name}: {reason}") from error
    return path
