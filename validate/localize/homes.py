"""PyTorch's modules in the graph: in nodes of their own, or in those of a module that they were folded into.

A convolution and the BatchNorm after it become one node, which belongs to one of the two. If it is the
convolution's, what leaves it is the BatchNorm's result, and what PyTorch's convolution returned is nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .eager_calls import Moment, Sight
from .judge import Judge, Judged
from .observed import Observed
from .truth import Truth


class Homes:
    """The nodes and values of the graph that stand for a module of PyTorch and its boundaries."""

    def __init__(self, truth: Truth, graph: Observed) -> None:
        self._truth, self._graph, self._view = truth, graph, graph.view

    def has_nodes(self, path: str) -> bool:
        """Return True if a module has nodes of its own."""
        return bool(self._view.inside(path))

    def home(self, moment: Moment) -> str:
        """Return the module that the one at ``moment``, without nodes, was folded into: the one that made its input.

        "" if no module made its input.
        """
        entered = self._truth.entering(moment)
        if entered is None or entered.origin.kind != "leave":
            return ""
        return entered.origin.path if self.has_nodes(entered.origin.path) else self.home(entered.origin)

    def is_folded(self, moment: Moment) -> bool:
        """Return True for the tensor of a module that has weights and no nodes, so that another's nodes compute it."""
        module = self._truth.module(moment.path)
        has_weights = module is not None and next(iter(module.parameters()), None) is not None
        return moment.kind == "leave" and has_weights and not self.has_nodes(moment.path)

    def candidates(self, sight: Sight) -> Sequence[str]:
        """Return the graph's values that may stand for a tensor at a module's boundary."""
        path, _, kind, number = sight.moment
        if not path and self._graph.raised is None:
            return self._view.outputs[number : number + 1] if kind == "leave" else ()
        if self.has_nodes(path):
            return self._view.entering(path) if kind == "enter" else self._view.leaving(path)
        home = self.home(sight.moment) if kind == "leave" else ""
        return self._view.leaving(home) if home else ()


def judge_boundaries(judge: Judge, homes: Homes, sights: Sequence[Sight]) -> list[Judged]:
    """Every tensor that enters or leaves a module, judged in the order of execution.

    One that differs from all its candidates is wrong only if it must be among them: see the three reasons below.
    """
    judged = judge.judge(sights, homes.candidates)
    leaving = [found for found in judged if found.is_right and found.moment.kind == "leave"]
    claimed = {(found.moment.path, found.values[0]) for found in leaving}
    absorbed = {
        (homes.home(found.moment), found.values[0]) for found in leaving if not homes.has_nodes(found.moment.path)
    }

    def settle(found: Judged) -> Judged:
        path, _, kind, _ = found.moment
        if found.status != "wrong":
            return found
        # 1. A module without nodes: its tensor may be inside of what it was folded into.
        if path and not homes.has_nodes(path):
            return replace(found, status="unknown")
        if kind != "leave":
            return found
        # 2. What a module was folded into: only the result of both is in the graph, and that is right.
        if any((path, name) in absorbed for name in found.values):
            return replace(found, status="unknown")
        # 3. Values that other calls of the module account for; if these are all, nothing reads this call's.
        left = tuple(name for name in found.values if (path, name) not in claimed)
        return replace(found, values=left) if left else replace(found, status="unknown")

    return [settle(found) for found in judged]
