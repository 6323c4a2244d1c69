"""Whether a plan computes in the precision that was asked for, from what TensorRT's inspector said of it."""

from __future__ import annotations

from collections.abc import Mapping

from .engines.tensorrt.layers import achieved, read_layers
from .engines.tensorrt.plans import Plan, layers_name
from .export.bundle import Bundle, is_as_listed
from .export.computed_in import lowered_nodes
from .validate.metrics import FLOAT32, LOWER
from .validate.verdict import StageResult, not_checked

# of the layers at fault so many are named
MOST_NAMED = 5


def achieved_stage(bundle: Bundle, plan: Plan) -> StageResult:
    """The stage ``tensorrt fp16, layers``.

    Failed where a layer computes in float32 what the graph has in a lower precision, or the other way round; not
    checked where the inspector's file is not there, is another one, or tells nothing of these nodes.
    """
    stage = f"{plan.stage}, layers"
    name = layers_name(plan.file)
    if not is_as_listed(bundle, name):
        without = f"{plan.file} was built without a GPU, and only a plan that is loaded can be inspected"
        return not_checked(
            stage, f"{name} is not the file that the manifest lists; compile again" if plan.gpu else without
        )
    try:
        layers = read_layers((bundle.path / name).read_text(encoding="utf-8"))
    except ValueError as error:
        return not_checked(stage, str(error))
    nodes = lowered_nodes(bundle.path / bundle.graphs[plan.precision], plan.precision)
    found = achieved(layers, plan.precision, nodes)
    words = LOWER.get(plan.precision, FLOAT32).words
    if found.wrong:
        modules = bundle.node_modules(plan.precision)
        named = [_told(layer.name, sorted(layer.names & modules.keys()), modules) for layer in found.wrong]
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        asked = "float32" if nodes else "a lower precision"
        return StageResult(
            stage,
            "failed",
            f"{len(named)} layers compute in {asked}, {words} was asked for: {', '.join(named[:MOST_NAMED])}{more}",
        )
    if nodes and not found.kept:
        return not_checked(stage, "the inspector does not tell the types of what these layers read")
    if not nodes:
        return StageResult(stage, "passed", f"no layer computes in less than {words}")
    untold = f"; of {found.untold} the inspector does not tell" if found.untold else ""
    return StageResult(stage, "passed", f"{found.kept} of {len(nodes)} nodes compute in {words}{untold}")


def _told(layer: str, nodes: list[str], modules: Mapping[str, str]) -> str:
    paths = list(dict.fromkeys(modules[node] for node in nodes))
    return f"{layer} ({', '.join(paths)})" if paths else layer
