"""The manifest's entries on the deployed target and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ..core.graph import WEIGHTS, ModelGraph, OnnxGraph
from ..core.manifest import MODEL, REFERENCE
from ..core.precision import FP32, PRECISIONS
from ..core.tensor_spec import Axis
from ..export.deploy_files import SCRIPT, flags_of, trtexec_line
from ..modules.target import Target
from ..validate.calibration_inputs import Fed
from ..validate.hidden import still_inputs
from .judgement import Judgement
from .options import Weights
from .precision import entries_of


def target_entries(target: Target, weights: Weights, *, by_name: bool) -> dict[str, Any]:
    """Return what was deployed and, if it has a name that builds it again, the arguments to do so."""
    build = {
        "seed": weights.seed,
        "pretrained": weights.pretrained,
        "checkpoint": weights.checkpoint is not None,
        **({"random": True} if weights.random else {}),
    }
    return {
        "target": {
            "name": target.name,
            "paper": target.paper,
            "source": target.source,
            "weights": "; ".join([target.weights, *target.weight_notes]),
        },
        "build": build if by_name else None,
        "preprocessing": {} if target.preprocessing is None else target.preprocessing.to_json(),
    }


class Described(Fed, Protocol):
    """The inputs and axes, with sentences about them for people."""

    @property
    def notes(self) -> Sequence[str]: ...


def graph_entries(target: Described, model: ModelGraph, *, was_interrupted: bool) -> dict[str, Any]:
    """Return the facts about the float32 graph.

    Args:
        target: The inputs and axes that were asked for.
        model: The graph, whose axes may be narrower.
        was_interrupted: True if a killed process or a time limit kept the graph from being simplified.
    """
    graph, why_not = model.graph, model.why_not_simplified
    return {
        "inputs": [spec.to_json() for spec in target.inputs],
        "outputs": [spec.to_json() for spec in graph.outputs],
        "axes": {name: axis.to_json() for name, axis in graph.axes.items()},
        "narrowed": _narrowed(target, graph),
        "notes": [*target.notes, *graph.notes],
        "simplified": {"done": not why_not, "why_not": why_not, **({"interrupted": True} if was_interrupted else {})},
        **({"program": model.exported.program} if model.exported.program else {}),
        "modules": dict(graph.modules),
        **({"precision": graph.precision} if graph.precision != FP32 else {}),
        "trtexec": trtexec_line(target.inputs, graph.axes, flags=flags_of(graph.precision)),
    }


def own_files(folder: Path, precision: str, *, reference: str) -> dict[str, str]:
    """Return the files that every bundle has, and what each is; ``reference`` says what was recorded."""
    files = {MODEL: f"graph, {PRECISIONS[precision].words}", REFERENCE: reference, SCRIPT: "example"}
    return {**files, WEIGHTS: "weights of the graph"} if (folder / WEIGHTS).exists() else files


def verdict_entries(judgement: Judgement, target: Fed) -> dict[str, Any]:
    """Return the verdict, the cases that it was reached on, and the graphs below float32."""
    return {
        "cases": judgement.cases,
        "cases_left_out": judgement.cases_left_out,
        "hidden": [*still_inputs(target.inputs), *judgement.hidden()],
        "verdict": judgement.verdict.to_json(),
        **({"own_levels": True} if judgement.own_levels else {}),
        **({"precisions": entries_of(judgement.lowered, target)} if judgement.lowered else {}),
    }


def _narrowed(target: Fed, graph: OnnxGraph) -> dict[str, str]:
    """Return, in words, the axes whose range the graph holds for a part of only."""
    pairs: dict[str, tuple[Axis, Axis]] = {name: (axis, graph.axes[name]) for name, axis in target.axes.items()}
    return {name: f"asked for {asked}, holds for {holds}" for name, (asked, holds) in pairs.items() if asked != holds}
