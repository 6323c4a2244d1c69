"""The plain ``torch.onnx.export``, with none of our steps: the baseline that our graph is timed beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import ModuleRefused
from ...modules.target import Target
from .tracing import example_inputs, for_signature, quiet


def export_plainly(
    target: Target, module: nn.Module, path: Path, output_names: Sequence[str], *, opset: int | None = None
) -> Path:
    """Write ``module`` to ``path`` with the same names and dynamic axes as ours.

    Without ``opset`` by the exporter of today at its own; with one by the older TorchScript exporter, which alone
    writes what a TensorRT before 10 reads. Raises ModuleRefused with the exporter's reason if it refuses.
    """
    axes = [{place: dim for place, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in target.inputs]
    how: dict[str, Any]
    if opset is None:
        dynamic = tuple(dict.fromkeys(found, torch.export.Dim.DYNAMIC) for found in axes)
        how = {"dynamo": True, "dynamic_shapes": for_signature(module, dynamic) if any(axes) else None}
    else:
        named = {spec.name: found for spec, found in zip(target.inputs, axes, strict=True)}
        how = {"dynamo": False, "opset_version": opset, "dynamic_axes": named}
    try:
        with quiet(), torch.no_grad():
            torch.onnx.export(
                module,
                example_inputs(target),
                path,
                input_names=[spec.name for spec in target.inputs],
                output_names=list(output_names),
                verbose=False,
                **how,
            )
    except Exception as error:  # torch and the module's own code may raise anything
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        raise ModuleRefused(f"torch.onnx.export refuses {target.name}: {reason}") from error
    return path
