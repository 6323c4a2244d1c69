"""The float32 graph of a module: traced and exported, its contract checked, simplified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.graph import DEFAULT_OPSET, ModelGraph, OnnxGraph
from ..core.manifest import MODEL
from ..core.progress import Progress, StageTimes
from ..errors import CheckFailed, ModuleRefused
from ..export.contract import check_contract
from ..export.simplify import Simplifier
from ..modules.target import Target

if TYPE_CHECKING:
    from torch import nn

EXPORTED = "exported.onnx"
EXPORT_ADVICE = "try another --opset, or deploy parts of the module to find the one that breaks it"


def export_graph(
    target: Target,
    module: nn.Module,
    folder: Path,
    *,
    opset: int = DEFAULT_OPSET,
    progress: Progress | None = None,
) -> OnnxGraph:
    """Return the graph that ``deploy`` would deploy, written to ``folder``; raises what ``deploy`` raises."""
    times = StageTimes(progress)
    with Simplifier() as simplifier:
        return simplify(trace(target, module, folder, opset, times), folder, times, simplifier).graph


def trace(target: Target, module: nn.Module, folder: Path, opset: int, times: StageTimes, note: str = "") -> OnnxGraph:
    """Return the graph as PyTorch exports it; raises ModuleRefused if it breaks the contract."""
    from ..export.trace.exporter import trace as trace_module

    times.start("trace", f"tracing and exporting to ONNX{note}")
    exported = trace_module(target, module, folder / EXPORTED, opset=opset)
    try:
        check_contract(exported, opset=opset, inputs=target.inputs, outputs=exported.outputs, after="export")
    except CheckFailed as error:  # nothing but the module decides what torch.onnx makes of it
        raise ModuleRefused(f"{target.name} has no right ONNX form: {error}; {EXPORT_ADVICE}") from error
    return exported


def simplify(exported: OnnxGraph, folder: Path, times: StageTimes, simplifier: Simplifier) -> ModelGraph:
    """Simplify the graph; one that cannot be is deployed as it was exported."""
    times.start("simplify", "simplifying the graph")
    graph, why_not = simplifier.simplify(exported, folder / MODEL)
    if why_not:
        exported.path.replace(folder / MODEL)
        graph = exported = replace(exported, path=folder / MODEL)
    return ModelGraph(graph, exported, why_not)
