"""Choices of the precision of nodes: which ones a graph has, and what each changes.

In a graph that is float16 outside of its 8 bits, nodes are lowered that the policy keeps in float32, or kept that it
lowers. In a graph with 8-bit products, nodes of one kind read no 8 bits: a kernel for 8 bits may be slower than the one
that it takes the place of, as for depthwise convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx_ir as ir

from ..core.precision import INT8, PRECISIONS, QUANTISED
from ..errors import InputError
from .candidate_source import Choice, Source, as_it_is, floats_of
from .keep_fp32 import kept_in, why_kept
from .passes.float_policy import plan
from .passes.pairs import Pairs, Reader
from .passes.place_pairs import place_pairs
from .passes.quantize_policy import plan_quantized
from .precision_options import Overrides
from .rewrites.tensorrt import LOWERINGS, Lowering


def changes(model: ir.Model, source: Source, precision: str) -> dict[Choice, frozenset[str]]:
    """Return each choice that applies to the ``model`` of the source, with the names of the nodes that it changes."""
    lowered = {(one.name, one.kind): _lowered_nodes(model, source, precision, one) for one in LOWERINGS}
    found = {**lowered, **_without_8_bits(model, source, precision)}
    return {Choice(name, kind, len(nodes)): nodes for (name, kind), nodes in found.items() if nodes}


def overrides_of(model: ir.Model, source: Source, precision: str, chosen: Sequence[Choice]) -> Overrides:
    """Return the nodes that the choices change; raises InputError for one that is unknown or changes none."""
    overrides, by_name = Overrides(), {lowering.name: lowering for lowering in LOWERINGS}
    applying = {(one.name, one.kind): nodes for one, nodes in changes(model, source, precision).items()}
    for choice in chosen:
        if choice.name not in by_name and choice.name != instead_of_8_bits(precision):
            known = ", ".join((*by_name, *filter(None, [instead_of_8_bits(precision)])))
            raise InputError(f"received the unknown choice {choice.name!r}; expected a rewrite, or one of {known}")
        nodes = applying.get((choice.name, choice.kind), frozenset())
        if not nodes:
            raise InputError(f"{choice.name!r} changes nothing at {choice.kind!r} beside what else is chosen")
        if choice.name in by_name:
            overrides = _with(overrides, by_name[choice.name], model.graph, source.io)
        else:
            overrides = replace(overrides, without_8_bits=overrides.without_8_bits | nodes)
    return overrides


def _lowered_nodes(model: ir.Model, source: Source, precision: str, lowering: Lowering) -> frozenset[str]:
    """Return the names of the nodes whose type the choice alone changes."""
    low = None if precision in as_it_is(source.graph.precision) else floats_of(precision)
    overrides = _with(Overrides(), lowering, model.graph, source.io)
    if low is None or not (overrides.allowed or overrides.kept):
        return frozenset()
    kept_by = _kept_by(source)
    plain = plan(model, low, kept_by)
    return plain.low ^ plan(model, low, overrides.why_kept(kept_by), allowed=overrides.allowed).low


def _with(overrides: Overrides, lowering: Lowering, graph: ir.Graph, io: str) -> Overrides:
    nodes = lowering.nodes(graph, io=io)
    if lowering.is_low:
        return replace(overrides, allowed=overrides.allowed | nodes)
    return replace(overrides, kept={**overrides.kept, **dict.fromkeys(nodes, lowering.name)})


def _without_8_bits(model: ir.Model, source: Source, precision: str) -> dict[tuple[str, str], frozenset[str]]:
    """Return the name and the kind of each choice of nodes that read no 8 bits, with the names of these nodes."""
    if precision not in QUANTISED or source.graph.precision in QUANTISED:
        return {}  # levels of its own are part of what it computes
    readers = _readers(model, source, precision)
    found: dict[tuple[str, str], set[str]] = {}
    for node in model.graph:
        if str(node.name) in readers:
            found.setdefault((instead_of_8_bits(precision), f"8 bits for {_kind(node)}"), set()).add(str(node.name))
    return {choice: frozenset(nodes) for choice, nodes in found.items()}


def instead_of_8_bits(precision: str) -> str:
    """Return the name of the choice of nodes that read no 8 bits; "" if the precision has none."""
    form = QUANTISED.get(precision)
    return "" if form is None else f"{PRECISIONS[form.rest].words} in place of 8 bits"


def _readers(model: ir.Model, source: Source, precision: str) -> set[str]:
    """Return the names of the nodes that read 8 bits of a tensor whose range is known."""
    pairs = _pairs(model, source, precision)
    ranges = pairs.completed(source.ranges)
    known = pairs.without({name for name, largest in ranges.items() if math.isnan(largest)})
    return {node for readers in known.readers.values() for node, _ in readers}


def _pairs(model: ir.Model, source: Source, precision: str) -> Pairs:
    kept_by = _kept_by(source)
    if QUANTISED[precision].is_placed:
        return place_pairs(model, plan_quantized(model, kept_by, precision=INT8), kept_by)
    found: dict[str, list[Reader]] = {}
    for product in plan_quantized(model, kept_by, precision=precision).quantized:
        found.setdefault(product.tensor, []).append((product.node, 0))
    return Pairs({name: tuple(readers) for name, readers in found.items()})


def _kind(node: ir.Node) -> str:
    """Return what nodes have in common for whose kernels 8 bits pay off alike."""
    if node.op_type != "Conv":
        return node.op_type
    weight, map_read = node.inputs[1], node.inputs[0]
    sizes = () if weight is None or weight.shape is None else tuple(weight.shape)
    groups = node.attributes.get_int("group", 1)
    words = "" if groups == 1 else "depthwise " if sizes[1:2] == (1,) else "grouped "
    where = " of an input" if map_read is not None and map_read.is_graph_input() else ""
    return f"{words}Conv {'x'.join(map(str, sizes[2:]))}{where}"


def _kept_by(source: Source) -> Callable[[str], str]:
    return why_kept(source.graph, kept_in(source.graph, source.keep))
