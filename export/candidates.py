"""Candidate graphs for TensorRT: what can be chosen for a bundle's graph, and a graph with some of it written.

A choice is one rewrite at all places of one kind, or one choice of the precision of nodes. Every rewrite is exact in
real arithmetic; a choice of precision is judged as every other graph is. Inputs and outputs stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.bundle import Bundle
from ..core.graph import OnnxGraph, save
from ..core.graph_io import FLOAT32
from ..core.precision import CAST, FP32, PRECISIONS, TF32
from ..core.scratch import scratch
from ..errors import InputError
from .contract import check_contract
from .precision import Change, keeper, kept_in, lower
from .rewrites.rewrite import WRITTEN, kinds, rewrite_places

if TYPE_CHECKING:
    import onnx_ir as ir

    from .rewrites.tensorrt import Lowering


@dataclass(frozen=True)
class Choice:
    """One way to write all places of one kind.

    Attributes:
        name: The rewrite or the choice of precision.
        kind: The kind of place. Of two choices of one kind only one can be taken.
        count: The number of places.
    """

    name: str
    kind: str
    count: int


@dataclass(frozen=True)
class Source:
    """The float32 graph that candidates are made of, and how its half-precision graph is asked for.

    ``keep`` are globs over modules that stay in float32, ``io`` the type of the inputs and outputs.
    """

    graph: OnnxGraph
    keep: tuple[str, ...] = ()
    io: str = FLOAT32


def source_of(bundle: Bundle, precision: str) -> Source:
    """Return what the bundle's graph of this precision was made of; raises InputError if it has none."""
    if precision not in bundle.precisions and precision not in (FP32, TF32):
        have = ", ".join(bundle.graphs)
        raise InputError(
            f"received the precision {precision}, of which {bundle.path} has no graph; it has {have}; deploy it with "
            f"--precision {precision}"
        )
    if bundle.precision != FP32:
        raise InputError(
            f"{bundle.path} was made of a {bundle.precision} graph; candidates are written from a float32 graph alone"
        )
    manifest = bundle.manifest
    graph = OnnxGraph(
        bundle.model_path, int(manifest["opset"]), bundle.inputs, bundle.outputs, bundle.node_modules(FP32), bundle.axes
    )
    entry = bundle.precisions.get(precision)
    return Source(graph, () if entry is None else tuple(entry.get("keep_fp32", ())), bundle.io(precision))


def require_candidates(bundle: Bundle, precision: str) -> None:
    """Raise InputError for a precision without candidates, or of which the bundle has no graph."""
    _require_float(precision)
    source_of(bundle, precision)


def choices(bundle: Bundle, precision: str) -> tuple[Choice, ...]:
    """Return all that can be chosen for the bundle's graph of this precision, the most promising first.

    Raises InputError for a precision without candidates, or of which the bundle has no graph.
    """
    return choices_of(source_of(bundle, precision), precision)


def choices_of(source: Source, precision: str) -> tuple[Choice, ...]:
    """Return the choices of a graph that is in no bundle."""
    import onnx_ir as ir

    from .rewrites.tensorrt import LOWERINGS, REWRITES, promise

    _require_float(precision)
    model = ir.load(str(source.graph.path))
    found = [Choice(rewrite.name, kind, count) for rewrite in REWRITES for kind, count in kinds(model, rewrite).items()]
    if precision in CAST:
        counts = {lowering: len(changed_nodes(model, source, precision, lowering)) for lowering in LOWERINGS}
        found += [Choice(lowering.name, lowering.kind, count) for lowering, count in counts.items() if count]
    return tuple(sorted(found, key=lambda choice: promise(choice.name)))


def write(bundle: Bundle, precision: str, chosen: Sequence[Choice], path: Path) -> Mapping[str, str]:
    """Write the bundle's graph of this precision with the choices; returns each node's module path.

    Raises:
        InputError: Two choices are of one kind, or one changes nothing beside the others.
        CheckFailed: The graph breaks the contract of the bundle's.
    """
    return write_of(source_of(bundle, precision), precision, chosen, path).modules


def write_of(source: Source, precision: str, chosen: Sequence[Choice], path: Path) -> OnnxGraph:
    """Write the same of a graph without a bundle, and return it."""
    _require_float(precision)
    _require_one_of_each_kind(chosen)
    with scratch("candidate") as folder:
        is_low = precision in CAST
        graph, left = _rewritten(source.graph, chosen, folder / "float32.onnx" if is_low else path)
        if not is_low:
            if left:
                raise InputError(f"received {left[0].name!r} for {precision}; expected a rewrite or a half precision")
            return graph
        change = _change(graph, source, precision, left)
        low = lower(graph, precision, path.parent, keep=source.keep, io=source.io, name=path.name, change=change)
        return low.graph


def _rewritten(graph: OnnxGraph, chosen: Sequence[Choice], path: Path) -> tuple[OnnxGraph, list[Choice]]:
    """Return the float32 graph with the chosen rewrites, written to ``path``, and the choices that are no rewrites."""
    import onnx_ir as ir

    from .rewrites.tensorrt import REWRITES

    model = ir.load(str(graph.path))
    names = [rewrite.name for rewrite in REWRITES]
    modules = {str(node.name): graph.modules_of(str(node.name)) for node in model.graph}
    for choice in sorted((one for one in chosen if one.name in names), key=lambda one: names.index(one.name)):
        places = rewrite_places(model, REWRITES[names.index(choice.name)], choice.kind)
        if not places:
            raise InputError(f"{choice.name!r} changes nothing at {choice.kind!r} beside what else is chosen")
        for place in places:
            _inherit(modules, place.anchor, place.removed, place.written)
    named = _plain_names(model)
    save(model, path)
    paths = {named.get(name, name): found for name, found in modules.items() if found}
    written = replace(
        graph,
        path=path,
        modules={name: found[0] for name, found in paths.items()},
        merged={name: found[1:] for name, found in paths.items() if found[1:]},
    )
    check_contract(written, opset=graph.opset, inputs=graph.inputs, outputs=graph.outputs, after="the rewrites")
    return written, [choice for choice in chosen if choice.name not in names]


def _plain_names(model: ir.Model) -> dict[str, str]:
    """Name what was written without spaces, at which names of a plan's layers are split; returns the nodes' names."""
    nodes: dict[str, str] = {}
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    taken = {str(one.name) for one in (*model.graph, *values)} | {*model.graph.initializers}
    for value in [*model.graph.initializers.values()]:
        if WRITTEN in str(value.name):
            value.name = _free(str(value.name), taken)
    for node in model.graph:
        if WRITTEN in str(node.name):
            nodes[str(node.name)] = _free(str(node.name), taken)
            node.name = nodes[str(node.name)]
        for value in node.outputs:
            if WRITTEN in str(value.name):
                value.name = _free(str(value.name), taken)
    return nodes


def _free(name: str, taken: set[str]) -> str:
    plain = wanted = "_".join(name.replace(WRITTEN, "/").split())
    number = 1
    while wanted in taken:
        number += 1
        wanted = f"{plain}_{number}"
    taken.add(wanted)
    return wanted


def _inherit(modules: dict[str, tuple[str, ...]], anchor: str, removed: Sequence[str], written: Sequence[str]) -> None:
    """Give each written node the modules of the node that it stands for first, then those of all that went."""
    own = modules.get(anchor, ())
    gone = [path for name in removed for path in modules.pop(name, ())]
    modules |= dict.fromkeys(written, tuple(dict.fromkeys((*own, *gone))))


def _change(graph: OnnxGraph, source: Source, precision: str, chosen: Sequence[Choice]) -> Change:
    """Return the nodes that the choices of precision change; raises InputError for one that changes none."""
    import onnx_ir as ir

    from .rewrites.tensorrt import LOWERINGS

    by_name = {lowering.name: lowering for lowering in LOWERINGS}
    model = ir.load(str(graph.path))
    change = Change()
    for choice in chosen:
        if choice.name not in by_name:
            known = ", ".join(by_name)
            raise InputError(f"received the unknown choice {choice.name!r}; expected a rewrite, or one of {known}")
        lowering = by_name[choice.name]
        if not changed_nodes(model, replace(source, graph=graph), precision, lowering):
            raise InputError(f"{choice.name!r} changes nothing beside what else is chosen")
        change = _with(change, lowering, model.graph, source.io)
    return change


def _with(change: Change, lowering: Lowering, graph: ir.Graph, io: str) -> Change:
    nodes = lowering.nodes(graph, io=io)
    if lowering.is_low:
        return replace(change, allowed=change.allowed | nodes)
    return replace(change, kept={**change.kept, **dict.fromkeys(nodes, lowering.name)})


def changed_nodes(model: ir.Model, source: Source, precision: str, lowering: Lowering) -> frozenset[str]:
    """Return the names of the nodes that the choice of precision alone changes in the ``model`` of the source."""
    from .passes.float_policy import plan

    change = _with(Change(), lowering, model.graph, source.io)
    if not (change.allowed or change.kept):
        return frozenset()
    kept_by: Callable[[str], str] = keeper(source.graph, kept_in(source.graph, source.keep))
    plain = plan(model, PRECISIONS[precision], kept_by)
    changed = plan(model, PRECISIONS[precision], change.keeper(kept_by), allowed=change.allowed)
    return plain.low ^ changed.low


def _require_float(precision: str) -> None:
    if precision not in (FP32, TF32, *CAST):
        expected = ", ".join((FP32, TF32, *CAST))
        raise InputError(
            f"received the precision {precision}, for which no other graphs are written; expected one of {expected}; "
            "attn2trt compile builds its plan"
        )


def _require_one_of_each_kind(chosen: Sequence[Choice]) -> None:
    taken: dict[str, str] = {}
    for choice in chosen:
        if choice.kind in taken:
            raise InputError(
                f"received {taken[choice.kind]!r} and {choice.name!r} for {choice.kind!r}; expected one choice of each "
                "kind"
            )
        taken[choice.kind] = choice.name
