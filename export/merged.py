"""Map each node of a simplified graph to the nodes that it stands for: a convolution took in its normalisation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ..core.operators import SIZES_ALONE


class Wiring(NamedTuple):
    """A node: its name, its operator, and the tensors that it reads and gives."""

    name: str
    operator: str
    reads: tuple[str, ...]
    gives: tuple[str, ...]


def merged_modules(
    before: Iterable[Wiring], after: Iterable[Wiring], modules: Mapping[str, Collection[str]]
) -> dict[str, tuple[str, ...]]:
    """Return for every node ``after``, by name, the modules of the nodes ``before`` that it stands for.

    Those gave what it gives, or what was computed on the way there from what it reads and no longer is. If it reads
    other constants than before, as a convolution that took in a factor, those count too that were computed from what it
    gives. Nodes that stand for nothing else are left out.

    ``modules`` are those of each node before.
    """
    makers = {tensor: node for node in before for tensor in node.gives if tensor}
    after = list(after)
    there = {tensor for node in after for tensor in node.gives}
    found: dict[str, tuple[str, ...]] = {}
    for node in after:
        nodes = [makers[tensor] for tensor in [*_taken_in(node, makers, there), *_taken_on(node, makers, there)]]
        if nodes:
            nodes = [*(makers[tensor] for tensor in node.gives if tensor in makers), *nodes]
            found[node.name] = tuple(dict.fromkeys(path for one in nodes for path in modules.get(one.name, ())))
    return found


def _taken_in(node: Wiring, makers: Mapping[str, Wiring], there: Collection[str]) -> list[str]:
    """Return the tensors between a node's inputs and outputs that are no longer computed."""
    leads: dict[str, bool] = {}

    def leads_here(tensor: str) -> bool:
        """Return True if the node's input reaches this tensor; its sizes alone do not count."""
        if tensor in node.reads or tensor not in makers or tensor in there:
            return tensor in node.reads
        if tensor not in leads:
            leads[tensor] = False
            reached = [leads_here(read) for read in makers[tensor].reads]
            leads[tensor] = any(reached) and makers[tensor].operator not in SIZES_ALONE
        return leads[tensor]

    for given in node.gives:
        for read in makers[given].reads if given in makers else ():
            leads_here(read)
    return [tensor for tensor, here in leads.items() if here]


def _taken_on(node: Wiring, makers: Mapping[str, Wiring], there: Collection[str]) -> list[str]:
    """Return tensors made of a node's outputs and constants that are no longer computed, if the node reads others."""
    if all(given not in makers or makers[given].reads == node.reads for given in node.gives):
        return []

    def is_constant(tensor: str) -> bool:
        return tensor not in makers or not makers[tensor].reads

    found = [*node.gives]
    for tensor, maker in makers.items():  # in the order of the graph
        if tensor not in there and any(read in found for read in maker.reads):
            found += [tensor] * all(read in found or is_constant(read) for read in maker.reads)
    return found[len(node.gives) :]


def others_than(first: Mapping[str, str], modules: Mapping[str, Collection[str]]) -> dict[str, tuple[str, ...]]:
    """Return by node the modules that are not the ``first`` one, of nodes that have such."""
    found = {node: tuple(path for path in modules.get(node, ()) if path != first[node]) for node in first}
    return {node: paths for node, paths in found.items() if paths}
