"""``--precision auto``: the fewest bits whose verdict passes, with as few modules in float32 as that takes.

A precision is measured first as PyTorch would lose it, which takes no graph. Where it loses more than the budget, each
module is lowered alone, those that lose most stay in float32, and the smallest number of them that keeps the budget is
found by bisection. What the verdict says of the graph decides: where it fails, more modules stay in float32, or the
next precision is tried, in the order of ``precision.TRIED``, and float32 alone at the end.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..core.precision import FP32, INT8, is_within
from ..core.traffic import Traffic, traffic
from ..errors import ModuleRefused
from ..export.precision import LowGraph
from ..validate.losses import Losses
from ..validate.metrics import LOWER
from .precision import LowWriter, floor_of
from .sensitivity import is_by_precision

if TYPE_CHECKING:
    from ..validate.verdict import Verdict

# Tensor cores multiply 8-bit integers at four times the rate of tf32, half precision at twice: with more than a third
# of the operations in float32, int8 takes longer than half precision, 2/3 / 4 + 1/3 = 1/2.
MOST_IN_FLOAT32 = {INT8: 1 / 3}
# modules that a line of the summary names
SHOWN = 5


@dataclass(frozen=True)
class Tried:
    """One attempt: the precision, the modules that stayed in float32 for it, and what came of it."""

    precision: str
    kept: tuple[str, ...]
    said: str

    def __str__(self) -> str:
        more = f" and {len(self.kept) - SHOWN} more modules" if len(self.kept) > SHOWN else ""
        kept = f" with {', '.join(self.kept[:SHOWN])}{more} in float32" if self.kept else ""
        return f"{self.precision}{kept}: {self.said}"


class PrecisionSearch:
    """The candidates in the order in which they are tried; ``tried`` tells what came of each.

    ``max_error`` replaces the budget of every precision.
    """

    def __init__(self, writer: LowWriter, losses: Losses, max_error: float | None) -> None:
        self._writer = writer
        self._losses = losses
        self._max_error = max_error
        self._verdict: Verdict | None = None
        self._is_settled = False
        self._was_interrupted = False
        self.tried: list[Tried] = []
        self.chosen = FP32

    def __iter__(self) -> Iterator[dict[str, LowGraph]]:
        for precision in self._writer.lowering.precisions:
            try:
                for low in self._graphs(precision):
                    yield {precision: low}
            except ModuleRefused as error:
                self._tell(precision, (), str(error))
            if self._is_settled:
                return
        yield {}

    def judged(self, verdict: Verdict) -> None:
        """Take note of the verdict on the last candidate."""
        self._verdict = verdict
        self._was_interrupted |= verdict.was_interrupted

    @property
    def account(self) -> dict[str, Any]:
        """Report what was chosen and what was tried, and whether a killed process decided about any of it."""
        return {
            **({"interrupted": True} if self._was_interrupted else {}),
            "precision_search": {
                "chosen": self.chosen,
                "tried": [asdict(tried) | {"kept": [*tried.kept]} for tried in self.tried],
            },
        }

    def _graphs(self, precision: str) -> Iterator[LowGraph]:
        """The graphs of one precision, each with more modules in float32; ends where more do not help."""
        low = self._writer.write(precision)
        lower, modules = floor_of(low), low.lowered_modules
        budget = LOWER[precision].budget if self._max_error is None else self._max_error
        self._writer.start("precision", f"measuring what {precision} loses")
        lost = self._losses.whole(lower)
        order: list[str] = []
        count, more = 0, 1
        if lost > budget:
            self._tell(precision, (), f"loses {lost:.3g}, above the budget of {budget:g}")
            order = self._most_lossy_first(low)

            def keeps_budget(kept: int) -> bool:
                left_out = [member for path in order[:kept] for member in modules[path]]
                return self._losses.whole(lower.without(left_out)) <= budget

            count = bisect.bisect_left(range(len(order) + 1), True, lo=1, key=keeps_budget)
        while True:
            kept = _outermost(order[:count])
            if count and all(is_within(path, kept) for path in order):
                self._tell(precision, (), "would need every module in float32")
                return
            low = self._writer.write(precision, kept) if kept else low
            share = self._share_in_float32(low)
            if share > MOST_IN_FLOAT32.get(precision, 1.0):
                said = f"{share:.0%} of the operations in float32: by the peak rates, half precision takes less time"
                self._tell(precision, kept, said)
                return
            yield low
            if self._take_note(low, kept, share):
                return
            order = order or self._most_lossy_first(low)
            count, more = count + more, more * 2

    def _take_note(self, low: LowGraph, kept: tuple[str, ...], share: float) -> bool:
        """Tell what the verdict said of a graph; returns whether another one of this precision is of no use."""
        if self._verdict is None:
            raise RuntimeError("the verdict on a candidate was not told before the next was asked for")
        failed = [stage for stage in self._verdict.stages if stage.status == "failed"]
        others = [stage for stage in failed if stage.stage.precision != low.precision]
        if others:
            self._is_settled, self.chosen = True, low.precision
            self._tell(low.precision, kept, f"not settled: {others[0].label} failed")
        elif failed:
            self._tell(low.precision, kept, f"{failed[0].label} failed: {failed[0].why}")
            return not all(map(is_by_precision, failed))
        else:
            self._is_settled, self.chosen = True, low.precision
            self._tell(low.precision, kept, f"passed, {share:.0%} of the operations in float32")
        return True

    def _most_lossy_first(self, low: LowGraph) -> list[str]:
        self._writer.start("precision", f"measuring what each module loses in {low.precision}")
        lost = self._losses.of_each(floor_of(low), low.lowered_modules)
        return sorted(lost, key=lambda path: -lost[path])

    def _share_in_float32(self, low: LowGraph) -> float:
        """The share of the float32 graph's operations that are not lowered."""
        lowered, counted = set(low.lowered), self._counted
        done = sum(operator.operations for operator in counted.operators if operator.name in lowered)
        return 1 - done / counted.operations if counted.operations else 1.0

    @cached_property
    def _counted(self) -> Traffic:
        return traffic(self._writer.graph.path, self._writer.target.sizes("opt"))

    def _tell(self, precision: str, kept: Sequence[str], said: str) -> None:
        self.tried.append(Tried(precision, tuple(kept), said))


def _outermost(paths: Sequence[str]) -> tuple[str, ...]:
    """The modules that are not inside another of them."""
    return tuple(path for path in paths if not is_within(path, [other for other in paths if other != path]))
