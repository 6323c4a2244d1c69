"""The tensors of PyTorch in one case: each in float64, and what PyTorch's own float32 loses of it.

All tensors of a model do not fit into memory at once. So the model is run again whenever some are asked for, and only
those are kept.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from ..arrays import Array
from ..cases import Case
from ..comparison import Comparison, compare
from ..eager import Rounding
from ..metrics import Floor, measure
from .eager_calls import EagerCalls, Moment, Sight, Visitor
from .watching import PASS_BYTES

if TYPE_CHECKING:
    from torch import nn

ROUNDINGS: tuple[Rounding, ...] = ("own", "plain")


class Truth:
    """The module on one case, in float64 and in float32.

    ``sights`` are the float tensors at every module's boundary in the order of execution, ``outputs`` the truth and
    the floor of each of the model's outputs. ``pass_bytes`` is what tensors may take at a time: about half of what the
    weights take, if that is much. The constructor raises ModuleRefused if PyTorch cannot run the case.
    """

    def __init__(self, module: nn.Module, case: Case) -> None:
        self.case, self.feeds = case, case.feeds
        self._double = EagerCalls(module, is_double=True)
        self._single = EagerCalls(module, is_double=False)
        self.pass_bytes = max(PASS_BYTES, sum(p.numel() * 4 for p in module.parameters()) // 2)
        self.sights: list[Sight] = []
        truths: list[Array] = []

        def note(sight: Sight, get: Callable[[], Array]) -> None:
            if sight.is_float:
                self.sights.append(sight)
            if sight.moment.module_call == ("", 0) and sight.moment.kind == "leave":
                truths.append(get().copy())

        self.visit(note)
        runs = [self._single.run(self.feeds, case, rounding=rounding).values() for rounding in ROUNDINGS]
        self.outputs = [
            (truth, larger(truth, rounded)) for truth, rounded in zip(truths, zip(*runs, strict=True), strict=True)
        ]
        entering = [sight for sight in self.sights if sight.moment.kind == "enter"]
        self._entering = {sight.moment.module_call: sight for sight in reversed(entering)}

    def module(self, path: str) -> nn.Module | None:
        """Return the module at a path; None if the graph has one that PyTorch does not have."""
        return self._double.paths.get(path)

    def entering(self, moment: Moment) -> Sight | None:
        """Return the first float tensor that was passed to the call of ``moment``."""
        return self._entering.get(moment.module_call)

    def call_count(self, path: str) -> int:
        """Return how often a module is called."""
        return 1 + max(sight.moment.call for sight in self.sights if sight.moment.path == path)

    def visit(self, visitor: Visitor, modules: Collection[str] = ()) -> None:
        """Run in float64 and show every boundary's tensors, and those of the operators inside of ``modules``."""
        self._double.visit(self.feeds, self.case, visitor, modules)

    def rounded(
        self, wanted: Collection[Moment], modules: Collection[str] = (), *, rounding: Rounding = "own"
    ) -> dict[Moment, Array]:
        """The float32 tensors at the ``wanted`` moments: PyTorch's unless another rounding is asked for."""
        kept: dict[Moment, Array] = {}

        def keep(sight: Sight, get: Callable[[], Array]) -> None:
            if sight.moment in wanted:  # a tensor that is seen again needs no second copy
                kept[sight.moment] = kept[sight.origin] if sight.origin in kept else get().copy()

        self._single.visit(self.feeds, self.case, keep, modules, rounding=rounding)
        return kept

    def floors(self, wanted: Collection[Moment], modules: Collection[str] = ()) -> Floors:
        """Return the loss of float32 at the ``wanted`` moments."""
        return Floors([self.rounded(wanted, modules, rounding=rounding) for rounding in ROUNDINGS])

    def at(self, moment: Moment) -> tuple[Array, Floor] | None:
        """Return the truth and the floor of one boundary's tensor; None if float32 does not come by."""
        truths: list[Array] = []

        def note(sight: Sight, get: Callable[[], Array]) -> None:
            if sight.moment == moment:
                truths.append(get().copy())

        self.visit(note)
        floors = self.floors({moment})
        return (truths[0], floors.at(moment, truths[0])) if truths and moment in floors else None

    def alone(self, moment: Moment) -> tuple[Array, Floor] | None:
        """Return the truth and the floor of a module's output if it runs alone on its float32 inputs."""
        inputs = self._single.inputs_of(moment.path, moment.call, self.feeds, self.case)
        if inputs is None:
            return None
        truth = self._double.alone(moment.path, inputs, self.case)[moment.number]
        runs = [self._single.alone(moment.path, inputs, self.case, rounding=rounding) for rounding in ROUNDINGS]
        return truth, larger(truth, [run[moment.number] for run in runs])

    def compare(self, value: Array, truth: Array, floor: Floor) -> Comparison:
        """Compare as the verdict does, without a budget.

        Values close to zero are judged against the largest magnitude that the last float64 run met; while it runs,
        the largest so far, which is what the tensor was computed from.
        """
        return compare("", value, truth, floor, self._double.largest, budget=math.inf)


class Floors:
    """The loss of float32 at some moments, in the run that loses most."""

    def __init__(self, runs: Sequence[dict[Moment, Array]]) -> None:
        self._runs = runs

    def __contains__(self, moment: Moment) -> bool:
        return all(moment in run for run in self._runs)

    def at(self, moment: Moment, truth: Array) -> Floor:
        """The floor of the tensor that is ``truth`` in float64."""
        return larger(truth, [run[moment] for run in self._runs])


def larger(truth: Array, rounded: Iterable[Array]) -> Floor:
    """The floor of one tensor from what several float32 runs made of it."""
    return functools.reduce(Floor.or_larger, (measure(own, truth) for own in rounded))
