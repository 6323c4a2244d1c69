"""The check that a plan computes in the precision that was asked for, by TensorRT's own description of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...core.bundle import Bundle
from ...core.computed_in import converting_nodes, lowered_nodes
from ...core.file_hashes import is_as_listed
from ...core.precision import PRECISIONS
from ...core.sentences import first_names
from ...engines.tensorrt.layers import achieved, fullest, read_layers
from ...engines.tensorrt.plans import Plan, graph_of, layers_name, modules_of
from ..verdict import FAILED, PASSED, StageResult, not_checked
from .stage import LAYERS, Stage, plan_stage


def check_layers(bundle: Bundle, plan: Plan, now: str = "") -> StageResult:
    """Return the stage ``tensorrt fp16, layers``.

    It failed if a layer computes in another precision than its nodes have in the graph. It is not checked if the
    inspector's file is missing, is not the one that was written, or tells nothing of these nodes.

    Args:
        bundle: The bundle.
        plan: One of its plans.
        now: What the inspector says of the plan after it has run, if it was asked: it stands for the file if it tells
            the types of more tensors.
    """
    stage = plan_stage(plan.flavour, plan.precision, LAYERS, tuned=plan.tuned)
    name = layers_name(plan.file)
    text = fullest([*_listed(bundle, name), now])
    if not text and not _listed(bundle, name):
        without = f"{plan.file} was built without a GPU, and only a plan that is loaded can be inspected"
        return not_checked(
            stage, f"{name} is not the file that the manifest lists; compile again" if plan.gpu else without
        )
    graph = graph_of(bundle, plan)
    if graph is None:
        return not_checked(stage, f"the bundle has no graph of {plan.file}; compile again")
    return judge_layers(stage, text, bundle.path / graph, modules_of(bundle, plan))


def is_fuller(bundle: Bundle, plan: Plan, now: str) -> bool:
    """Tell whether a document on a plan of the bundle tells more than the file that is there, or there is none."""
    name = layers_name(plan.file)
    before = _listed(bundle, name)
    is_changed = name in bundle.manifest["files"] and not before  # what somebody put there stays, and verify names it
    return bool(now) and not is_changed and (not before or fullest([*before, now]) == now != before[0])


def _listed(bundle: Bundle, name: str) -> list[str]:
    """Return the document in a file of the bundle; none if it is not the one that the manifest lists."""
    if not is_as_listed(bundle, name):
        return []
    return [(bundle.path / name).read_text(encoding="utf-8", errors="replace")]  # what is no text is no document


def judge_layers(stage: Stage, text: str, graph: Path, modules: Mapping[str, str]) -> StageResult:
    """Compare the layers in an inspector's document with the nodes of the graph in the precision of the stage.

    Args:
        stage: The stage ``tensorrt fp16, layers``.
        text: The document.
        graph: The graph that has the precision.
        modules: The path of the module of each node.
    """
    try:
        layers = read_layers(text)
    except ValueError as error:
        return not_checked(stage, str(error))
    nodes = lowered_nodes(graph, stage.precision)
    found = achieved(layers, stage.precision, nodes, converting_nodes(graph))
    words = PRECISIONS[stage.precision].words
    if found.wrong:
        named = [_named(layer.name, sorted(layer.names & modules.keys()), modules) for layer in found.wrong]
        instead = " or ".join(PRECISIONS[name].words for name in sorted(found.instead))
        return StageResult(
            stage,
            FAILED,
            f"{len(named)} layers compute in {instead}, {words} was asked for: {first_names(named)}",
        )
    if not found.kept:
        return not_checked(stage, "the inspector does not tell the types of what these layers read")
    unknown = f"; of {found.unknown} the inspector does not tell" if found.unknown else ""
    if nodes:
        return StageResult(stage, PASSED, f"{found.kept} of {len(nodes)} nodes compute in {words}{unknown}")
    return StageResult(stage, PASSED, f"{found.kept} layers compute in no less than {words}{unknown}")


def _named(layer: str, nodes: list[str], modules: Mapping[str, str]) -> str:
    paths = list(dict.fromkeys(modules[node] for node in nodes if modules[node]))
    return f"{layer} ({', '.join(paths)})" if paths else layer
