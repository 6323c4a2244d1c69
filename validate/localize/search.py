"""Search back from the first wrong boundary to values known to be right: the few nodes between hold the fault."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...core.graph import OnnxGraph
from ...core.module_path import is_part
from ..boundaries import GraphView, Node, Opener, ort_opener
from ..cases import Case
from ..place import Boundary
from .exchanged import Exchanged
from .homes import Homes, judge_boundaries
from .judge import Judge, Judged
from .location import Location
from .missing import Missing
from .observed import Observed, Raised
from .operators import Operators
from .proof import Proof
from .truth import Truth

if TYPE_CHECKING:
    from torch import nn


def locate(
    module: nn.Module, graph: OnnxGraph, case: Case, *, optimise: bool, opener: Opener | None = None
) -> Location | None:
    """Find the place at which ``graph`` leaves ``module`` on ``case``; None if its outputs stay within the limit.

    The graph runs in ONNX Runtime, as in production with ``optimise``; ``opener`` loads it in another runtime.
    Raises ModuleRefused if PyTorch cannot run the case.
    """
    with GraphView(graph.path, graph.modules) as view:
        truth = Truth(module, case)
        observed = Observed(view, opener or ort_opener(optimise=optimise), truth)
        return _Search(truth, observed).find() if observed.is_wrong() else None


class _Search:
    """Narrows a wrong graph down; ``right`` are the values known to be right so far."""

    def __init__(self, truth: Truth, graph: Observed) -> None:
        self.truth, self.graph, self.view = truth, graph, graph.view
        self.judge = Judge(truth, graph)
        self.homes = Homes(truth, graph)
        self.operators = Operators(truth, graph, self.homes, self.judge)
        self.proof = Proof(truth, graph, self.judge)
        self.missing = Missing(truth, graph, self.homes, self.judge, self.proof)
        self.exchanged = Exchanged(truth, graph)
        self.right: set[str] = set(self.view.inputs)

    def find(self) -> Location | None:
        if self.graph.raised is not None and not self.view.outputs:  # it reads nothing that was computed
            return self._raising(self.graph.raised)
        judged = judge_boundaries(self.judge, self.homes, self.truth.sights)
        self.right |= {found.values[0] for found in judged if found.is_right}
        place = self._narrow(judged)
        if place is None and self.graph.raised is not None:
            place = self._raising(self.graph.raised)
        return place and replace(place, boundaries=_boundaries(judged))

    def _narrow(self, judged: Sequence[Judged]) -> Location | None:
        """Return the place behind the first boundary whose error has a known reason."""
        done = {found.moment.module_call for found in judged if found.is_right and found.moment.kind == "leave"}
        for found in judged:
            moment = found.moment
            if found.status != "wrong" or (moment.kind == "enter" and moment.module_call in done):
                continue
            cleared = self.view.cleared(self.right)
            if moment.kind == "leave" and moment.path and self._ends_well(found, cleared):
                continue
            region = self.view.back(found.values, cleared)
            if not region:
                place = self.missing.locate(found, judged)
            elif suspects := self._suspects(region):
                place = self.missing.before(suspects[0], found) or self._blame(suspects, found, judged)
            else:
                place = self._left_in_place(found)
            if place is not None:
                return self.exchanged.before(place) or place
        return None

    def _left_in_place(self, found: Judged) -> Location | None:
        """Locate the node that makes a module's output, if the module makes the right value as well."""
        path, wrong = found.moment.path, found.values[0]
        if found.moment.kind != "leave" or not path:
            return None
        others = [name for node in self.view.inside(path) for name in self.view.floats(node.outputs)]
        right = self.judge.equal(found.sight, [name for name in others if name not in found.values])
        if right is None:
            return None
        detail = f"{right}, which this module makes too, is what should leave it in place of {wrong}"
        module = self.truth.module(path)
        return Location.of(path, module, self.view.producer[wrong], found.ratio, detail, proven=True)

    def _suspects(self, region: Sequence[Node]) -> list[Node]:
        """Return the nodes of ``region`` that neither PyTorch's operators nor all that reads them vouch for."""
        self.right |= self.operators.vouched(region)
        cleared = self.view.cleared(self.right)
        return [node for node in region if not cleared.issuperset(self.view.floats(node.outputs))]

    def _ends_well(self, found: Judged, cleared: Collection[str]) -> bool:
        """Return True if all that follows from a module's output is right, so that only the comparison was at fault."""
        users = [user for name in found.values for user in self.view.consumers.get(name, ())]
        after = [user for user in users if not is_part(user.module, found.moment.path)]
        return all(name in cleared for user in after for name in self.view.floats(user.outputs))

    def _blame(self, suspects: Sequence[Node], found: Judged, judged: Sequence[Judged]) -> Location:
        alike = self.operators.first(suspects)
        certain = f"one of {len(alike)} nodes from {alike[0].name} to {alike[-1].name}; " if len(alike) > 1 else ""
        return self.proof.locate(alike[0], found, judged, certain)

    def _raising(self, raised: Raised) -> Location:
        """Locate the node that does not run, or the one that made its input if that differs from PyTorch's."""
        region = self.view.back(self.view.outputs, self.view.cleared(self.right))
        suspects = self._suspects(region) if region else []
        if suspects:
            blamed, why = suspects[0], f"{raised.node.name} does not run on what it makes"
        else:
            blamed, why = raised.node, "what it reads is right, and it does not run"
        module, detail = self.truth.module(blamed.module), f"{why}: {raised.message}"
        return Location.of(blamed.module, module, blamed, math.inf, detail, proven=not suspects)


def _boundaries(judged: Sequence[Judged]) -> tuple[Boundary, ...]:
    """Return what leaves each module, and what enters it, as far as it was compared."""
    moments = ((found, found.moment) for found in judged if found.moment.kind in ("enter", "leave"))
    return tuple(Boundary(moment.path, moment.kind, found.ratio, found.status) for found, moment in moments)
