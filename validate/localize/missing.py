"""Find what the graph lacks: every value that a module reads is right somewhere, but PyTorch feeds it another one.

A step was left out, or another value is read in its place. Nothing that the graph computes is wrong, so no node can be
found by comparing; PyTorch's modules tell what ought to be there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..boundaries import Node
from .eager_calls import Moment, Sight
from .homes import Homes
from .judge import Judge, Judged
from .location import Location
from .observed import Observed
from .proof import Proof
from .truth import Truth
from .watching import passes


class Missing:
    """Locate what a wrong boundary lacks."""

    def __init__(self, truth: Truth, graph: Observed, homes: Homes, judge: Judge, proof: Proof) -> None:
        self._truth, self._view = truth, graph.view
        self._homes, self._judge, self._proof = homes, judge, proof

    def locate(self, found: Judged, judged: Sequence[Judged]) -> Location | None:
        """Find what is missing at a boundary that is wrong though all the values that it may be are right."""
        moment, origin = found.moment, found.sight.origin
        if moment.kind == "leave":
            return self._last_step(found)
        readers, calls = self._readers(found), self._truth.call_count(moment.path)
        # Of a module that is called again, the node in the order of its calls.
        reader = (readers[moment.call] if len(readers) == calls else readers[0]) if readers else None
        if origin.kind == "leave" and not self._homes.has_nodes(origin.path):
            if self._homes.is_folded(origin):
                return self._before_folded(found, origin, reader)
            return self._module(origin.path, reader, found)
        return None if reader is None else self._fed_otherwise(found, judged, reader, is_short=len(readers) < calls)

    def before(self, node: Node, found: Judged) -> Location | None:
        """Find what is missing before a module that was folded into the one of ``node``, whose output is wrong."""
        entered = self._truth.entering(found.moment)
        if found.moment.kind != "leave" or entered is None or node.module != found.moment.path:
            return None
        return self._before_folded(found, entered.origin, node) if self._homes.is_folded(entered.origin) else None

    def _before_folded(self, found: Judged, origin: Moment, reader: Node | None) -> Location | None:
        """Locate the input of a module with weights that was folded into its reader: the graph must hold it.

        The reader's own output is judged next.
        """
        fed = self._truth.entering(origin)
        while fed is not None and self._homes.is_folded(fed.origin):
            fed = self._truth.entering(fed.origin)
        if fed is None or self._computed(fed) is not None:
            return None
        if fed.origin.kind == "leave" and not self._homes.has_nodes(fed.origin.path):
            return self._module(fed.origin.path, reader, found)
        return self._input(fed, reader, found)

    def _fed_otherwise(self, found: Judged, judged: Sequence[Judged], reader: Node, *, is_short: bool) -> Location:
        """Locate a ``reader`` that reads other values than PyTorch feeds it; ``is_short`` if calls have no node."""
        computed = self._computed(found.sight)
        if computed is None:
            return self._input(found.sight, reader, found)
        if is_short:
            user = next(iter(self._view.consumers.get(computed, ())), None)
            return self._absent(found.moment.path, "a call of this module is missing from the graph", user, found)
        return self._proof.locate(reader, found, judged, "it reads another value than PyTorch feeds it; ")

    def _last_step(self, found: Judged) -> Location | None:
        """Locate a module that returns a right value, one step too early. The step may be a module inside of it."""
        path, last = found.moment.path, found.sight.origin
        makers = [self._view.producer[name] for name in found.values if name in self._view.producer]
        if not path or not makers:
            return None
        if last.kind == "leave" and not self._homes.has_nodes(last.path) and not self._homes.is_folded(last):
            text = f"no node of the graph computes this module; {path} ends with {makers[-1].name}, which is before it"
            path = last.path
        else:
            text = f"no node of the graph computes the last step of this module: it ends with {makers[-1].name}"
        return Location.of(path, self._truth.module(path), makers[-1], found.ratio, text)

    def _module(self, path: str, reader: Node | None, found: Judged) -> Location:
        return self._absent(path, "no node of the graph computes this module", reader, found)

    def _input(self, sight: Sight, reader: Node | None, found: Judged) -> Location:
        text = f"no node of the graph computes what PyTorch feeds to {sight.moment.path}"
        return self._absent(sight.caller, text, reader, found)

    def _absent(self, path: str, text: str, reader: Node | None, found: Judged) -> Location:
        """Locate a step that has no node by the ``reader`` of what should have gone into it."""
        text += f"; {reader.name} reads what is before it" if reader else ""
        return Location.of(path, self._truth.module(path), reader, found.ratio, text)

    def _readers(self, found: Judged) -> list[Node]:
        return [node for node in self._view.inside(found.moment.path) if set(node.inputs) & set(found.values)]

    def _computed(self, sight: Sight) -> str | None:
        """The value of the graph, wherever it is, that holds what PyTorch feeds a module."""
        everything = [*self._view.inputs, *(name for node in self._view.nodes for name in node.outputs)]
        names = [name for name in self._view.floats(everything) if self._view.may_be(name, sight.shape)]
        size = 4 * math.prod(sight.shape)  # float32
        groups = passes(names, lambda _: size, self._truth.pass_bytes)
        return next((found for group in groups if (found := self._judge.equal(sight, group)) is not None), None)
