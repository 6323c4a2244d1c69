"""The precision of every operator as it was asked for, and of every layer of a plan as its inspector tells it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ..core.bundle import Bundle
from ..core.computed_in import lowered_nodes
from ..core.file_hashes import is_as_listed
from ..core.precision import FP32, PRECISIONS
from ..core.sentences import first_names
from ..engines.tensorrt.layers import MOVES, Layer, read_layers
from ..engines.tensorrt.plans import Plan, graph_of, layers_name, modules_of, plans_of
from .scale import Bar, LinearAxis

# Modules that a line names of those with operators in float32.
MOST_NAMED = 4


@dataclass(frozen=True)
class KeptRow:
    """Operators that stay in float32 for one reason."""

    why: str
    count: int
    modules: str


@dataclass(frozen=True)
class AskedSection:
    """The request for a graph below float32."""

    precision: str
    file: str
    lowered: int
    total: int
    bar: Bar
    kept: tuple[KeptRow, ...]


@dataclass(frozen=True)
class LayerRow:
    """One layer of a plan that computes."""

    layer: str
    modules: str
    asked: str
    achieved: str
    agrees: bool | None


@dataclass(frozen=True)
class AchievedSection:
    """The inspector's facts on a plan; ``why_not`` says why there are none."""

    plan: str
    precision: str
    built_by: str
    why_not: str
    layers: tuple[LayerRow, ...] = ()

    @property
    def different(self) -> int:
        """Return how many layers compute in another precision than was asked for."""
        return sum(layer.agrees is False for layer in self.layers)


def asked_sections(bundle: Bundle) -> tuple[AskedSection, ...]:
    """One section for each graph below float32."""
    return tuple(_asked(bundle, name, entry) for name, entry in bundle.precisions.items())


def _asked(bundle: Bundle, precision: str, entry: Mapping[str, object]) -> AskedSection:
    kept: Mapping[str, str] = bundle.precisions[precision]["float32"]
    modules = bundle.node_modules(precision)
    reasons: dict[str, list[str]] = {}
    for node, why in kept.items():
        reasons.setdefault(why, []).append(node)
    lowered = int(bundle.precisions[precision]["lowered"])
    total = lowered + len(kept)
    rows = [KeptRow(why, len(nodes), _modules(nodes, modules)) for why, nodes in reasons.items()]
    return AskedSection(
        precision=precision,
        file=str(entry["file"]),
        lowered=lowered,
        total=total,
        bar=LinearAxis(0.0, float(total or 1)).bar(float(lowered)),
        kept=tuple(sorted(rows, key=lambda row: -row.count)),
    )


def _modules(nodes: list[str], modules: Mapping[str, str]) -> str:
    paths = list(dict.fromkeys(path for node in nodes if (path := modules.get(node))))
    return first_names(paths, MOST_NAMED)


def achieved_sections(bundle: Bundle) -> tuple[AchievedSection, ...]:
    """One section for each plan of the bundle."""
    return tuple(_achieved(bundle, plan) for plan in plans_of(bundle))


def _achieved(bundle: Bundle, plan: Plan) -> AchievedSection:
    name = layers_name(plan.file)
    found = AchievedSection(plan.file, plan.precision, plan.built_by, "")
    if name not in bundle.manifest["files"]:
        why = (
            "built only: no GPU has loaded it, and only a plan that is loaded can be inspected"
            if not plan.gpu
            else "the inspector's document is not in the bundle; compile again"
        )
        return replace(found, why_not=why)
    if not is_as_listed(bundle, name):
        return replace(found, why_not=f"{name} is not the file that the manifest lists; compile again")
    try:
        layers = read_layers((bundle.path / name).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        return replace(found, why_not=str(error))
    modules, kept = modules_of(bundle, plan), _kept(bundle, plan)
    rows = (_layer(layer, plan.precision, kept, modules) for layer in layers if layer.kind not in MOVES)
    return replace(found, layers=tuple(rows))


def _layer(layer: Layer, precision: str, kept: Collection[str], modules: Mapping[str, str]) -> LayerRow:
    nodes = sorted(layer.names & modules.keys())
    asked = sorted({FP32 if node in kept else precision for node in nodes})
    achieved = sorted(layer.computes)
    # what a layer reads may be of another type than what it computes in, if it holds a conversion
    known = bool(achieved) and len(asked) == 1 and not (layer.known_by_inputs and len(achieved) > 1)
    return LayerRow(
        layer=layer.name,
        modules=", ".join(list(dict.fromkeys(path for node in nodes if (path := modules[node])))[:MOST_NAMED]),
        asked=", ".join(asked) or "not known",
        achieved=", ".join(achieved) or "not known",
        agrees=asked[0] in achieved if known else None,
    )


def _kept(bundle: Bundle, plan: Plan) -> Collection[str]:
    """Return the nodes of the plan's graph that stay in float32."""
    graph = graph_of(bundle, plan)
    if plan.tuned and graph is not None and PRECISIONS[plan.precision].graph != "float32":
        lowered = lowered_nodes(bundle.path / graph, plan.precision)
        return {node for node in modules_of(bundle, plan) if node not in lowered}
    entry = bundle.precisions.get(plan.precision)
    return {} if entry is None else entry["float32"]
