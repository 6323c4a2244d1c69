"""Compute the truth of two cases again, by a fresh copy and in another order, and refuse what does not repeat.

A float64 truth is one only if the module gives it for every call with the same inputs. State in attributes or buffers,
random numbers, clocks and statistics of the batch make it something else; that is found here and called by its name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

import numpy as np

from ...core.sentences import first_names
from ...errors import ModuleRefused
from ..cases import Case
from ..eager import CannotRun, Eager, Outputs
from .counts import MANY, counted_on, counters, numbers
from .draws import TRIALS, Draw, Draws, states
from .sources import changing_line, watch_clocks
from .state import changed, iterators, kept_bytes, prints

# float64 repeats itself but for the order of its sums in another thread.
REPEATS = 1e-9
# If a clock is asked, so many calls are compared: no end of its range is known.
CALLS = 12
# If calls change what no number shows, as the length of a list, so many more are: past the hundred that people take.
CALLS_ON = 128
MOST_BYTES = 2**30  # fewer, if the module would keep more than that of them
SHOWN = 3
ADVICE = "make the outputs depend on the inputs alone, as by `if self.training`, or take the state as an input"


class Repeats:
    """Compare the truth of a few small cases with that of a copy of ``double`` that has run others before.

    Make it before ``double`` has run: both start in the same state.
    """

    def __init__(self, double: Eager, cases: Sequence[Case]) -> None:
        self._cases = cases
        self._first = double.fresh()
        self._double = double
        self._clocks: list[str] = []
        self._again: dict[int, Outputs] = {}
        double.draws = Draws(double.inside)

    def start(self) -> None:
        """Run the fresh copy on the cases that are to repeat; a case that it cannot run is left to the comparison.

        Raises ModuleRefused if random numbers decide.
        """
        copy = self._first.fresh()
        copy.follow_modules()
        copy.draws = Draws(copy.inside)
        before = prints(copy.module, with_parameters=False)
        counted = numbers(copy.module)
        with watch_clocks(self._clocks):
            for index in chosen(self._cases):
                with suppress(CannotRun):
                    self._again[index] = copy.run(self._cases[index].feeds, self._cases[index], watched=False)
                    self._refuse_draws(copy.draws, index)
        kept = changed(before, prints(copy.module, with_parameters=False))
        if self._again and self._clocks:
            self._call_often(copy, min(self._again), CALLS)
        if self._again and (kept or numbers(copy.module) != counted or iterators(copy.module)):
            self._go_on(min(self._again))
        if self._again and kept:
            self._mix_sizes(self._cases[min(self._again)], kept)

    def check(self, index: int, truth: Outputs) -> None:
        """Compare the truth of case number ``index`` with its repetition, if it has one; raises ModuleRefused."""
        if self._double.draws is not None:
            self._refuse_draws(self._double.draws, index)
        if index in self._again and not repeats(self._again[index], truth):
            self._refuse(index, off=distance(self._again[index], truth))

    def _refuse_draws(self, draws: Draws, index: int) -> None:
        """Refuse if any number that was drawn decides anything: the outputs differ between their trials."""
        if not draws.found:
            return
        drawn, case = draws.found[0], self._cases[index]
        try:
            found = [self._outputs(case, trial) for trial in range(TRIALS)]
        except ModuleRefused:  # a number out of the range that the module takes: it decides something
            found = []
        if not found or not all(repeats(found[0], other) for other in found[1:]):
            _refuse(self._first, f"it draws random numbers, {self._located(drawn, case)}")

    def _outputs(self, case: Case, trial: int) -> Outputs:
        copy = self._first.fresh()
        copy.draws = Draws(copy.inside, trial)
        return copy.run(case.feeds, case, watched=False)

    def _located(self, drawn: Draw, case: Case) -> Draw:
        """The draw with the line at which the state of a shared generator changes."""
        if drawn.line or drawn.source not in states():
            return drawn
        copy = self._first.fresh()
        line = changing_line(lambda: copy.run(case.feeds, case, watched=False), lambda: states()[drawn.source])
        return Draw(drawn.source, drawn.module, line)

    def _call_often(self, copy: Eager, index: int, calls: int) -> None:
        case, first = self._cases[index], self._again[index]
        for _ in range(calls):
            outputs = copy.run(case.feeds, case, watched=False)
            if not repeats(outputs, first):
                self._refuse(index, off=distance(outputs, first), call="one of many calls")

    def _go_on(self, index: int) -> None:
        """Refuse if the outputs are others once what every call changes has come far."""
        case, copy = self._cases[index], self._first.fresh()
        counted, kept, held = [], [], []
        for _ in range(3):
            outputs = copy.run(case.feeds, case, watched=False)
            counted.append(numbers(copy.module))
            kept.append(prints(copy.module, with_parameters=False))
            held.append(kept_bytes(copy.module))
        if not repeats(self._again[index], outputs):  # the comparison finds it
            return
        counts = counters(counted)
        self._count_far(copy, index, counts)
        if {*changed(kept[1], kept[2])} - {*counts} or iterators(copy.module):
            self._call_often(copy, index, min(CALLS_ON, MOST_BYTES // max(1, held[2] - held[1])))

    def _count_far(self, copy: Eager, index: int, counts: Mapping[str, int]) -> None:
        case = self._cases[index]

        def call() -> Outputs:
            return copy.run(case.feeds, case, watched=False)

        for reached in (MANY - 1, MANY) if counts else ():  # counted before it is asked for, or after
            with counted_on(copy.module, counts, reached), suppress(CannotRun):
                off = distance(call(), self._again[index])
                if off > REPEATS:
                    line = changing_line(call, lambda: numbers(copy.module))
                    _refuse(
                        self._first,
                        f"it counts its calls in {_some([*counts], line)}, and once it has come to {reached} the "
                        f"outputs of case {case.name} are off by {off:.2g} of the largest",
                    )

    def _mix_sizes(self, case: Case, kept: Sequence[str]) -> None:
        """Refuse if the outputs at some sizes depend on the call before, as by a table that is kept for a height."""
        if case.at is None:
            return
        for before, after in mixed(self._cases):
            first, second = case.at(before), case.at(after)
            copy, fresh = self._first.fresh(), self._first.fresh()
            with suppress(CannotRun):
                expected = fresh.run(second.feeds, second, watched=False)
                copy.run(first.feeds, first, watched=False)
                off = distance(expected, copy.run(second.feeds, second, watched=False))
                if off > REPEATS:
                    _refuse(
                        self._first,
                        f"a call at {_listed(after)} is off by {off:.2g} of the largest output after one at "
                        f"{_listed(before)}, and calls change its {_some(kept, '')}",
                    )

    def _refuse(self, index: int, *, off: float, call: str = "a second call") -> NoReturn:
        case, copy = self._cases[index], self._first.fresh()
        for _ in range(2):  # what the first call only sets, the second changes
            before = prints(copy.module)
            copy.run(case.feeds, case, watched=False)
            paths = changed(before, prints(copy.module)) or iterators(copy.module)
        difference = f"{call} with the inputs of case {case.name} is off by {off:.2g} of the largest output"
        if not paths:
            why = f"it reads {self._clocks[0]}" if self._clocks else "something outside of it changes, as a global does"
            _refuse(self._first, f"{difference}, and {why}")
        line = changing_line(
            lambda: copy.run(case.feeds, case, watched=False),
            lambda: prints(copy.module, of=paths),
        )
        _refuse(self._first, f"{difference}, and every call changes its {_some(paths, line)}")


def _some(paths: Sequence[str], line: str) -> str:
    return first_names(paths, SHOWN) + (f" at {line}" if line else "")


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def _refuse(eager: Eager, why: str) -> NoReturn:
    raise ModuleRefused(f"{type(eager.module).__name__} is not a function of its inputs: {why}; {ADVICE}")


def chosen(cases: Sequence[Case]) -> list[int]:
    """Return the cases to repeat, in the order in which to run them: the smallest but the first, then the smallest
    ordinary one; what the first of all cases leaves behind has then another order to show in."""
    sizes = [math.prod(case.sizes.values()) for case in cases]
    others = range(1, len(cases))
    ordinary = [index for index, case in enumerate(cases) if case.kind in ("normal", "random_int", "image")]
    picked = [min(group, key=lambda index: sizes[index]) for group in (others, ordinary) if group]
    return list(dict.fromkeys(picked or range(len(cases))))


def mixed(cases: Sequence[Case]) -> list[tuple[dict[str, int], dict[str, int]]]:
    """Return pairs of sizes of the cases that a table may take for the same: one axis differs, or two are exchanged.

    Each pair comes in both orders, and the sizes are the two smallest of every axis.
    """
    held = {name: sorted({case.sizes[name] for case in cases if name in case.sizes})[:2] for name in cases[0].sizes}
    small = {name: sizes[0] for name, sizes in held.items()}
    grown = {name: small | {name: sizes[1]} for name, sizes in held.items() if len(sizes) > 1}
    pairs = [(small, one) for one in grown.values()] if len(held) > 1 else []
    pairs += [(grown[a], grown[b]) for a, b in itertools.combinations(grown, 2) if held[a] == held[b]]
    return [order for one, other in pairs for order in ((one, other), (other, one))]


def repeats(one: Outputs, other: Outputs) -> bool:
    """Return True if two runs of float64 give the same, integers and what is not finite exactly."""
    return distance(one, other) <= REPEATS


def distance(one: Outputs, other: Outputs) -> float:
    """Return the largest difference of any output, over its largest magnitude; infinite if they cannot be compared."""
    return max((_difference(one[name], other.get(name)) for name in one), default=0.0)


def _difference(one: np.ndarray, other: np.ndarray | None) -> float:
    if other is None or one.shape != other.shape:
        return math.inf
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else math.inf
    finite = np.isfinite(one)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True) or not np.isfinite(other[finite]).all():
        return math.inf
    largest = float(np.abs(one[finite]).max(initial=0.0))
    off = float(np.abs(one[finite] - other[finite]).max(initial=0.0))
    return off / largest if largest else (math.inf if off else 0.0)
