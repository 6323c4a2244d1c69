"""Pairs of choices of a candidate graph that may do together what neither does alone.

Two choices meet if the nodes of the float32 graph that they change read or give the same tensor: a Cast of it may go
once both have changed, and what becomes adjacent may be fused. Another choice may apply only beside the first: an
activation stands before what reshapes it once a gate is written as convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import NamedTuple

import onnx_ir as ir

from ..core.bundle import Bundle
from .candidate_changes import changes
from .candidate_source import Choice, Source, source_of
from .candidates import choices_of
from .rewrites.rewrite import constant, kinds, rewrite_places
from .rewrites.tensorrt import REWRITES

Pair = tuple[Choice, Choice]


class Effect(NamedTuple):
    """The effect of a choice on the float32 graph: the names of the nodes that it changes or removes, and the rewrites
    not before it in turn that apply beside it; None for a choice of precision, which leaves all nodes there."""

    nodes: frozenset[str]
    beside: tuple[Choice, ...] | None = None


def pairs(bundle: Bundle, precision: str) -> tuple[Pair, ...]:
    """Return the pairs of the bundle's graph of this precision that meet, the closest and most promising first.

    Raises InputError for a precision without candidates, or of which the bundle has no graph.
    """
    return pairs_of(source_of(bundle, precision), precision)


def pairs_of(source: Source, precision: str) -> tuple[Pair, ...]:
    """Return the pairs of a graph that is in no bundle."""
    model = ir.load(str(source.graph.path))
    changed = changes(model, source, precision)
    effects = {
        choice: Effect(changed[choice]) if choice in changed else _effect(model, choice)
        for choice in choices_of(source, precision)
    }
    tensors = _tensors(model)
    touched = {
        choice: {name for node in effect.nodes for name in tensors.get(node, ())} for choice, effect in effects.items()
    }
    met = [pair for pair in _writable(effects) if touched[pair[0]] & touched[pair[1]]]
    on_one_node = [pair for pair in met if effects[pair[0]].nodes & effects[pair[1]].nodes]
    return tuple(dict.fromkeys([*on_one_node, *_opened(effects), *met]))


def _writable(effects: dict[Choice, Effect]) -> Iterator[Pair]:
    """Yield each pair of choices of two kinds once, without those in which one leaves nothing to the other."""
    turn = {rewrite.name: place for place, rewrite in enumerate(REWRITES)}
    places = {choice: place for place, choice in enumerate(effects)}
    for first, later in permutations(effects, 2):
        # of two rewrites the first in turn, whose effect says what is left
        order = [(turn.get(choice.name, len(turn)), places[choice]) for choice in (first, later)]
        if order[0] > order[1] or first.kind == later.kind:
            continue
        beside = effects[first].beside
        is_left = later.name not in turn or beside is None or _key(later) in {_key(choice) for choice in beside}
        if is_left:
            yield first, later


def _opened(effects: dict[Choice, Effect]) -> Iterator[Pair]:
    """Yield each choice with every rewrite that does not apply without it."""
    alone = {_key(choice) for choice in effects}
    for choice, effect in effects.items():
        yield from ((choice, one) for one in effect.beside or () if _key(one) not in alone and one.kind != choice.kind)


def _effect(model: ir.Model, choice: Choice) -> Effect:
    """Return the effect of a rewrite."""
    place = [rewrite.name for rewrite in REWRITES].index(choice.name)
    changed = model.clone()
    nodes = [
        name for one in rewrite_places(changed, REWRITES[place], choice.kind) for name in (one.anchor, *one.removed)
    ]
    later = [
        Choice(rewrite.name, kind, count)
        for rewrite in REWRITES[place:]
        for kind, count in kinds(changed, rewrite).items()
    ]
    return Effect(frozenset(nodes), tuple(later))


def _tensors(model: ir.Model) -> dict[str, set[str]]:
    """Return the names of the tensors that each node reads and gives, without weights and sizes."""
    found: dict[str, set[str]] = {}
    for node in model.graph:
        if node.op_type not in ("Constant", "Shape", "Size"):
            read = [value for value in node.inputs if value is not None and constant(value) is None]
            found[str(node.name)] = {str(value.name) for value in (*read, *node.outputs)}
    return found


def _key(choice: Choice) -> tuple[str, str]:
    return choice.kind, choice.name
