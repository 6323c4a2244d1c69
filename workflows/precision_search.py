"""``--precision auto``: the fewest bits whose verdict passes, with as few modules in float32 as that takes.

The loss of a precision is measured first in PyTorch, which takes no graph. If it is above the budget, each module is
lowered alone, those that lose most stay in float32, and the smallest number of them that keeps the budget is found by
bisection. The verdict on the graph decides. If it fails, more modules stay in float32, or the next precision of
``options.TRIED`` is tried, and float32 alone at the end. If slices failed that lose their variation, the modules that
they lose it in come next.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.module_path import is_within, outermost
from ..core.precision import FP32, LOWER
from ..core.tensor_spec import optima
from ..core.traffic import Traffic, traffic
from ..errors import ModuleRefused, PrecisionRefused
from ..export.precision import LowPrecisionGraph
from ..validate.sensitivity import LayerSensitivity
from ..validate.verdict import FAILED, StageResult, Verdict
from .judgement import Judge, Judgement
from .precision import PrecisionWriter, floor_of
from .sensitivity import is_by_precision, lost_slices

# modules that a line of the summary names
SHOWN = 5


@dataclass(frozen=True)
class Tried:
    """One attempt: the precision, the modules that stayed in float32, and the outcome."""

    precision: str
    kept: tuple[str, ...]
    said: str

    def __str__(self) -> str:
        left = len(self.kept) - SHOWN
        more = f" and {left} more module{'s' if left > 1 else ''}" if left > 0 else ""
        kept = f" with {', '.join(self.kept[:SHOWN])}{more} in float32" if self.kept else ""
        return f"{self.precision}{kept}: {self.said}"


@dataclass(frozen=True)
class ChosenPrecision:
    """The outcome of a search.

    Attributes:
        chosen: The precision; fp32 if no other one passed.
        judgement: The last one, which is on the chosen precision's graph.
        tried: Every attempt, in order.
        was_interrupted: True if a killed process decided about any of them.
    """

    chosen: str
    judgement: Judgement
    tried: tuple[Tried, ...]
    was_interrupted: bool

    @property
    def entries(self) -> dict[str, Any]:
        """The entries of the manifest about the choice."""
        return {
            **({"interrupted": True} if self.was_interrupted else {}),
            "precision_search": {
                "chosen": self.chosen,
                "tried": [asdict(tried) | {"kept": [*tried.kept]} for tried in self.tried],
            },
        }


def search_precision(
    writer: PrecisionWriter, sensitivity: LayerSensitivity, judge: Judge, max_error: float | None = None
) -> ChosenPrecision:
    """Return the first precision of the writer's request whose verdict passes.

    Args:
        writer: Writes the graphs.
        sensitivity: Measures what a precision loses before a graph is written.
        judge: Gives the verdict on a graph by its precision; it is asked about each candidate, the chosen one last.
        max_error: Replaces the budget of every precision.
    """
    tried: list[Tried] = []
    was_interrupted = False
    opt = optima(writer.target.axes)
    counted = functools.cache(lambda: traffic(writer.graph.path, opt))
    for precision in writer.request.lower:
        candidates = _Candidates(precision, writer, sensitivity, counted, max_error, tried)
        while (low := candidates.next()) is not None:
            try:
                judgement = judge({precision: low})
            except PrecisionRefused as error:  # by what PyTorch computes in it, whatever stays in float32
                candidates.refuse(str(error))
                break
            was_interrupted |= judgement.verdict.was_interrupted
            if candidates.is_settled_by(judgement.verdict):
                return ChosenPrecision(precision, judgement, tuple(tried), was_interrupted)
    judgement = judge({})
    was_interrupted |= judgement.verdict.was_interrupted
    return ChosenPrecision(FP32, judgement, tuple(tried), was_interrupted)


class _Candidates:
    """The graphs of one precision, each with more modules in float32 than the one before.

    Args:
        precision: Its name.
        writer: Writes the graphs.
        sensitivity: Measures the modules.
        counted: Counts the operations of the float32 graph.
        max_error: Replaces the precision's budget.
        tried: Gets an entry for each attempt.
    """

    def __init__(
        self,
        precision: str,
        writer: PrecisionWriter,
        sensitivity: LayerSensitivity,
        counted: Callable[[], Traffic],
        max_error: float | None,
        tried: list[Tried],
    ) -> None:
        self._precision, self._writer, self._sensitivity, self._tried = precision, writer, sensitivity, tried
        self._counted = counted
        self._budget = LOWER[precision].budget if max_error is None else max_error
        self._whole: LowPrecisionGraph | None = None  # with nothing kept
        self._order: list[str] = []  # the modules, those that lose most first
        self._count, self._more = 0, 1  # of them in float32, and how many more the next graph keeps
        self._kept: tuple[str, ...] = ()
        self._share = 0.0
        self._failed: list[StageResult] = []  # the stages of the last graph
        self._is_over = False

    def next(self) -> LowPrecisionGraph | None:
        """Write the next graph to be judged; None if no other one of this precision is of use."""
        if self._is_over:
            return None
        try:
            return self._written()
        except ModuleRefused as error:
            self._note((), str(error))
            return None

    def refuse(self, why: str) -> None:
        """Note that the last graph cannot be judged."""
        self._note(self._kept, why)

    def is_settled_by(self, verdict: Verdict) -> bool:
        """Tell whether the verdict on the last graph ends the search: it passed, or float32 itself fails."""
        failed = [stage for stage in verdict.stages if stage.status == FAILED]
        others = [stage for stage in failed if stage.stage.precision != self._precision]
        if others:
            self._note(self._kept, f"not settled: {others[0].stage} failed")
        elif failed:
            self._note(self._kept, f"{failed[0].stage} failed: {failed[0].why}")
            self._failed, self._is_over = failed, not all(map(is_by_precision, failed))
            return False
        else:
            self._note(self._kept, f"passed, {self._share:.0%} of the operations in float32")
        return True

    def _written(self) -> LowPrecisionGraph | None:
        if self._whole is None:
            low = self._whole = self._writer.write(self._precision)
            self._count = self._fewest_kept(low)
        else:
            low = self._whole
            self._order = self._next_first(low)
            self._count, self._more = self._count + self._more, self._more * 2
        self._kept = outermost(self._order[: self._count])
        if self._count and all(is_within(path, self._kept) for path in self._order):
            self._note((), "would need every module in float32")
            return None
        low = self._writer.write(self._precision, self._kept) if self._kept else low
        self._share = _share_in_float32(low, self._counted())
        if self._share > LOWER[self._precision].most_in_float32:
            share = f"{self._share:.0%} of the operations in float32"
            self._note(self._kept, f"{share}: by the peak rates, half precision takes less time")
            return None
        return low

    def _fewest_kept(self, low: LowPrecisionGraph) -> int:
        """Return the smallest number of modules, those that lose most first, to keep in float32 for the budget."""
        lower, modules = floor_of(low), low.lowered_modules
        self._writer.start("precision", f"measuring what {self._precision} loses")
        lost = self._sensitivity.whole(lower)
        if lost <= self._budget:
            return 0
        self._note((), f"loses {lost:.3g}, above the budget of {self._budget:g}")
        self._order = self._most_sensitive_first(low, self._sensitivity)
        return self._sensitivity.fewest_kept(lower, modules, self._order, self._budget)

    def _next_first(self, low: LowPrecisionGraph) -> list[str]:
        """Return the modules, those that are kept first, then those that most of what failed is lost in."""
        slices = lost_slices(self._failed, self._sensitivity)
        if self._order and not slices:
            return self._order
        measured = self._sensitivity.of(slices) if slices else self._sensitivity
        kept = self._order[: self._count]
        return [*kept, *(path for path in self._most_sensitive_first(low, measured) if path not in kept)]

    def _most_sensitive_first(self, low: LowPrecisionGraph, measured: LayerSensitivity) -> list[str]:
        self._writer.start("precision", f"measuring what each module loses in {self._precision}")
        lost = measured.of_each(floor_of(low), low.lowered_modules)
        return sorted(lost, key=lambda path: -lost[path])

    def _note(self, kept: Sequence[str], outcome: str) -> None:
        self._tried.append(Tried(self._precision, tuple(kept), outcome))


def _share_in_float32(low: LowPrecisionGraph, counted: Traffic) -> float:
    """Return the share of the float32 graph's operations, all ``counted``, that are not lowered."""
    lowered = {*low.lowered}
    done = sum(operator.operations for operator in counted.operators if operator.name in lowered)
    return 1 - done / counted.operations if counted.operations else 1.0
