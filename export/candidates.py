"""Candidate graphs for TensorRT: what can be chosen for a bundle's graph, and a graph with some of it written.

A choice is one rewrite at all places of one kind, or one choice of the precision of nodes. Every rewrite is exact in
real arithmetic; a choice of precision is judged as every other graph is. Inputs and outputs stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from ..core.bundle import Bundle
from ..core.graph import OnnxGraph, save
from ..core.precision import CAST, QUANTISED
from ..core.scratch import scratch
from ..errors import InputError
from .candidate_changes import changes, instead_of_8_bits, overrides_of
from .candidate_source import Choice, Source, as_it_is, source_of
from .contract import check_contract
from .modelopt_placement import RULES
from .placed import place
from .precision import LowPrecisionGraph, lower
from .precision_options import PrecisionOptions
from .quantized import quantize
from .rewrites.rewrite import WRITTEN, kinds, rewrite_places
from .rewrites.tensorrt import REWRITES, promise

# The ranges of a candidate are those of the bundle's own graph, whose entry in the manifest says how they were found.
BY_BUNDLE = "the bundle's own ranges"


def require_candidates(bundle: Bundle, precision: str) -> None:
    """Raise InputError for a precision of which the bundle has no graph, or whose pairs another tool has placed."""
    source_of(bundle, precision)
    entry = bundle.precisions.get(precision)
    placement = RULES if entry is None else entry.get("placement", RULES)
    if placement != RULES:
        raise InputError(
            f"received {precision}, whose pairs {placement} has placed in {bundle.path}; candidates are written by the "
            f"rules of attn2trt alone; deploy with --precision {precision}, without --placement"
        )


def choices(bundle: Bundle, precision: str) -> tuple[Choice, ...]:
    """Return all that can be chosen for the bundle's graph of this precision, the most promising first.

    Raises InputError for a precision of which the bundle has no graph.
    """
    return choices_of(source_of(bundle, precision), precision)


def choices_of(source: Source, precision: str) -> tuple[Choice, ...]:
    """Return the choices of a graph that is in no bundle."""
    model = ir.load(str(source.graph.path))
    found = [Choice(rewrite.name, kind, count) for rewrite in REWRITES for kind, count in kinds(model, rewrite).items()]
    wide = instead_of_8_bits(precision)
    return tuple(
        sorted(
            [*found, *changes(model, source, precision)],
            key=lambda choice: (choice.name != wide, promise(choice.name)),
        )
    )


def write(bundle: Bundle, precision: str, chosen: Sequence[Choice], path: Path) -> Mapping[str, str]:
    """Write the bundle's graph of this precision with the choices; returns each node's module path.

    Raises:
        InputError: Two choices are of one kind, or one changes nothing beside the others.
        CheckFailed: The graph breaks the contract of the bundle's.
    """
    return write_of(source_of(bundle, precision), precision, chosen, path).modules


def write_of(source: Source, precision: str, chosen: Sequence[Choice], path: Path) -> OnnxGraph:
    """Write the same of a graph without a bundle, and return it."""
    _require_one_of_each_kind(chosen)
    with scratch("candidate") as folder:
        is_itself = precision in as_it_is(source.graph.precision)
        graph, left = _rewritten(source.graph, chosen, path if is_itself else folder / "rewritten.onnx")
        if not is_itself:
            return _lowered(graph, source, precision, left, path).graph
        if left:
            raise InputError(f"received {left[0].name!r} for {precision}; expected a rewrite, or a lower precision")
        return graph


def _lowered(
    graph: OnnxGraph, source: Source, precision: str, chosen: Sequence[Choice], path: Path
) -> LowPrecisionGraph:
    """Write a ``graph``, to which the source was rewritten, in a lower precision with these choices of it."""
    options = PrecisionOptions(source.keep, source.io, file=path.name)
    if chosen:  # what applies is found by planning the graph several times
        found = overrides_of(ir.load(str(graph.path)), replace(source, graph=graph), precision, chosen)
        options = replace(options, overrides=found)
    folder = path.parent
    if precision in CAST or source.graph.precision in QUANTISED:
        return lower(graph, precision, folder, options)
    form, ranges = QUANTISED[precision], source.calibrate
    if form.is_placed:
        return place(graph, ranges, folder, form=form, calibration=BY_BUNDLE, options=options)
    return quantize(graph, ranges, folder, form=form, calibration=BY_BUNDLE, parameters={}, options=options)


def _rewritten(graph: OnnxGraph, chosen: Sequence[Choice], path: Path) -> tuple[OnnxGraph, list[Choice]]:
    """Return the float32 graph with the chosen rewrites, written to ``path``, and the choices that are no rewrites."""
    model = ir.load(str(graph.path))
    names = [rewrite.name for rewrite in REWRITES]
    modules = {str(node.name): graph.modules_of(str(node.name)) for node in model.graph}
    for choice in sorted((one for one in chosen if one.name in names), key=lambda one: names.index(one.name)):
        places = rewrite_places(model, REWRITES[names.index(choice.name)], choice.kind)
        if not places:
            raise InputError(f"{choice.name!r} changes nothing at {choice.kind!r} beside what else is chosen")
        for one in places:
            _inherit(modules, one.anchor, one.removed, one.written)
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
    """Take spaces out of written names, since a plan's layer names are split at them; returns the nodes' new names."""
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
    """Give each written node the modules of the node that it stands for, then those of all that were removed."""
    own = modules.get(anchor, ())
    gone = [path for name in removed for path in modules.pop(name, ())]
    modules |= dict.fromkeys(written, tuple(dict.fromkeys((*own, *gone))))


def _require_one_of_each_kind(chosen: Sequence[Choice]) -> None:
    taken: dict[str, str] = {}
    for choice in chosen:
        if choice.kind in taken:
            raise InputError(
                f"received {taken[choice.kind]!r} and {choice.name!r} for {choice.kind!r}; expected one choice of each "
                "kind"
            )
        taken[choice.kind] = choice.name
