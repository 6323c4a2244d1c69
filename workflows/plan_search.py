"""Find the graph that a TensorRT runs fastest on this GPU: candidates are built as plans, checked, and timed in turn.

A build takes from seconds to minutes, a comparison a few. So every choice is tried by itself beside the plan of the
graph as it is; the winners of different kinds of places are then combined, the most wanted combination first; what was
left is tried beside the best. What there is no time for is listed. At the end the whole is held against the plan of
the graph as it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..core.precision import PRECISIONS
from ..core.progress import Progress
from ..engines.tensorrt.isolated import described
from ..engines.timing import machine
from ..engines.timing.core_latency import CoreWatch
from ..engines.timing.machine import GPU_CACHE_BYTES
from ..engines.timing.method import Method
from ..engines.timing.paired import Difference, Pair
from ..engines.timing.runners import PlanRunner
from ..engines.timing.timed_process import TimedProcess
from ..engines.timing.timed_run import Entry, MachineWatch, rotated_sets
from ..engines.timing.trials import PlanTuning, Trial
from ..errors import CheckFailed, InputError
from ..validate.agreement import wrong_output
from ..validate.cases import Case
from ..validate.metrics import Reference
from .comparison import Comparison, fastest
from .plan_cache import BuiltPlan, PlanCache, Recipe, WrittenGraph

COMBINED = "several"
# of the time for builds, what the choices by themselves may take
SINGLES_SHARE = 2 / 3
WHOLE = "tuned"
PLAIN = "graph as it is"


class Choice(Protocol):
    """One rewrite at every place of a kind; two of one kind exclude each other."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def count(self) -> int: ...


class Graphs(Protocol):
    """The graphs that compute the same."""

    def choices(self) -> Sequence[Choice]:
        """Return every choice that applies, the most promising first."""
        ...

    def write(self, chosen: Sequence[Choice], path: Path) -> Mapping[str, str]:
        """Write the graph with these choices, without any the graph as it is; return the module of each node.

        Raises InputError for choices that do not go together or change nothing.
        """
        ...


Candidate = tuple[Choice, ...]


class Found(NamedTuple):
    """The plan that won, None for the plan of the graph as it is, and all that was tried."""

    best: BuiltPlan | None
    tuning: PlanTuning


class PlanSearch:
    """Tries the candidates of a bundle's graph of one precision.

    What it finds can be kept between two calls, and given back: a search may be done by several processes.

    Attributes:
        plans: The plans that were built, by the choices in their graph; that of the graph as it is by none.
        trials: What was timed beside another plan.
        builds: Of each graph that was built in this process its name and seconds, or why there is no plan.
        not_tried: Why a candidate was not built or not timed.

    Args:
        recipe: What all plans have in common.
        graphs: Writes candidates.
        cache: Builds plans, and keeps them.
        sizes: The size of every dynamic axis that plans are timed at.
        case: A recorded case that the profiles hold, with what PyTorch computed.
        name: The file's name of a candidate.
        method: The rules of the clock.
        progress: Called with a line for every step.
        build_seconds: The builds of candidates end so long after the plan of the graph as it is is there, which may
            take minutes itself; of this time the combinations have a third. None for no limit.
        most: So many choices are tried, the most promising; None for all.
        jobs: The processes that are made ready beside each other before they are timed.
    """

    def __init__(
        self,
        recipe: Recipe,
        graphs: Graphs,
        cache: PlanCache,
        *,
        sizes: Mapping[str, int],
        case: tuple[Case, Reference],
        name: str,
        method: Method,
        progress: Progress,
        build_seconds: float | None = None,
        most: int | None = None,
        jobs: int = 1,
    ) -> None:
        self._build_seconds, self._most = build_seconds, most
        self._recipe, self._graphs, self._cache = recipe, graphs, cache
        self._sizes, self._case, self._name = sizes, case, name
        self._method, self._progress = method, progress
        self._bundle = recipe.bundle
        self._sets = rotated_sets(recipe.bundle.inputs_of(recipe.precision), sizes, GPU_CACHE_BYTES)
        self.plans: dict[Candidate, BuiltPlan] = {}
        self.trials: dict[Candidate, Trial] = {}
        self.builds: list[Mapping[str, Any]] = []
        self.not_tried: dict[str, str] = {}
        self._comparison = Comparison[BuiltPlan](
            self._entry,
            self._check,
            method,
            threads=1,
            watch=MachineWatch(CoreWatch(lambda: None)),
            on_failure=self.not_tried.__setitem__,
            # in a lower precision an honest rewrite may round more than the limits allow
            on_wrong=None if PRECISIONS[recipe.precision].graph == "float32" else self.not_tried.__setitem__,
            jobs=jobs,
        )

    def search(self) -> Found:
        """Return the fastest plan, if it is faster than that of the graph as it is, and everything that was tried.

        Raises CheckFailed if the graph as it is cannot be built, or if a candidate computes something else.
        """
        self.build_singles()
        self.time_singles()
        return self.combine()

    def build_plain(self) -> None:
        """Build the plan of the graph as it is. Raises CheckFailed if it cannot be built."""
        self._progress("building the plan of the graph as it is")
        self._build([()])

    def build_singles(self) -> None:
        """Build the plan of the graph as it is, then one for every choice, beside each other."""
        self.build_plain()
        choices = self._graphs.choices()
        most = len(choices) if self._most is None else self._most
        self.not_tried |= {_named(choice): f"only {most} choices were to be tried" for choice in choices[most:]}
        self._progress(f"building {len(choices[:most])} candidates")
        began = time.monotonic()
        if self._build_seconds is not None:
            self._cache.build_until(began + self._build_seconds * SINGLES_SHARE)
        self._build([(choice,) for choice in choices[:most]])
        if self._build_seconds is not None:
            self._cache.build_until(began + self._build_seconds)

    def time_singles(self) -> None:
        """Time every choice by itself beside the graph as it is."""
        singles = [candidate for candidate in self.plans if len(candidate) == 1]
        self._progress(f"timing {len(singles)} candidates beside the graph as it is")
        self._try((), singles)

    def winners(self) -> list[Candidate]:
        """Return for each kind of place the fastest choice that is faster by itself, the best first."""
        singles: dict[Candidate, Difference] = {
            one: trial.difference for one, trial in self.trials.items() if len(one) == 1
        }
        winners = []
        for kind in dict.fromkeys(one[0].kind for one in singles):
            name = fastest({_form(one): found for one, found in singles.items() if one[0].kind == kind})
            winners += [one for one in singles if _form(one) == name]
        return sorted(winners, key=lambda one: singles[one].ms)

    def together(self) -> list[Candidate]:
        """Return the combinations of the winners: all of them, then without the last, and so on."""
        winners = self.winners()
        return [_together(winners[:count]) for count in range(len(winners), 1, -1)]

    def build_together(self) -> None:
        """Build the combinations of the winners, beside each other."""
        self._build(self.together())

    def combine(self) -> Found:
        """Try the winners together, then what was left beside the best; hold the whole against the graph as it was."""
        best: Candidate = ()
        if winners := self.winners():
            best = self._improved(winners[0], self.together(), f"combining {len(winners)} choices")
            best = self._beside_the_best(best)
        return self._whole(best)

    def _beside_the_best(self, best: Candidate) -> Candidate:
        """Try every choice of another kind that is not clearly slower beside the best, as long as one pays off."""
        while True:
            kinds = {choice.kind for choice in best}
            left = [
                _together([best, one])
                for one, trial in self.trials.items()
                if len(one) == 1 and one[0].kind not in kinds and not trial.difference.low_ms > 0
            ]
            left = [one for one in left if one not in self.trials]
            better = self._improved(best, left, f"trying {len(left)} more choices beside the best")
            if better == best:
                return best
            best = better

    def _improved(self, best: Candidate, others: Sequence[Candidate], saying: str) -> Candidate:
        """Return the fastest of the others that is faster than the best, or the best."""
        if not others:
            return best
        self._progress(saying)
        self._build(others)
        found = self._try(best, [one for one in others if one in self.plans])
        name = fastest({_form(one): difference for one, difference in found.items()})
        return next((one for one in others if _form(one) == name), best)

    def _build(self, wanted: Sequence[Candidate]) -> None:
        """Write and build candidates; one that cannot be is noted, unless it is the graph as it is."""
        written: dict[str, WrittenGraph] = {}
        by_form = {_form(one): one for one in wanted if one not in self.plans}
        if by_form and (why := self._cache.why_not_now()):
            if PLAIN in by_form:
                raise CheckFailed(f"the plan of the graph as it is was not built: {why}")
            self.not_tried |= dict.fromkeys(by_form, why)
            return
        for form, one in by_form.items():
            try:
                with self._cache.writing(self._name) as path:
                    written[form] = self._cache.keep_graph(path, self._graphs.write(one, path))
            except InputError as error:
                self.not_tried[form] = str(error)
        for form, built in self._cache.build(written).items():
            if not isinstance(built, str):
                self.plans[by_form[form]] = built
                self.builds.append({"form": form, "seconds": built.plan.seconds})
            elif form == PLAIN:
                raise CheckFailed(f"the plan of the graph as it is was not built: {built}")
            else:
                self.not_tried[form] = built
                self.builds.append({"form": form, "why": built})

    def _try(self, before: Candidate, after: Sequence[Candidate]) -> dict[Candidate, Difference]:
        """Time plans beside one; returns the difference of each, which is a trial."""
        by_form = {_form(one): one for one in after}
        if not by_form:
            return {}
        plans = {form: self.plans[one] for form, one in by_form.items()}
        pairs = self._comparison.compared(self.plans[before], plans)
        for form, pair in pairs.items():
            self.trials[by_form[form]] = _trial(by_form[form], pair)
        return {by_form[form]: pair.difference for form, pair in pairs.items()}

    def _whole(self, best: Candidate) -> Found:
        whole = None
        if best:
            self._progress("timing the whole against the graph as it was")
            whole = self._comparison.compared(self.plans[()], {WHOLE: self.plans[best]}, checked=True).get(WHOLE)
        plain, recipe = self.plans[()].plan, self._recipe
        tuning = PlanTuning(
            sizes=self._sizes,
            threads=1,
            method=self._method,
            machine=machine.describe(),
            versions=dict(machine.installed_versions()),
            conditions=self._comparison.watch.conditions(),
            trials=tuple(self._kept(best)),
            before_ms=None if whole is None else whole.before_ms,
            after_ms=None if whole is None else whole.after_ms,
            difference=None if whole is None else whole.difference,
            runtime=plain.built_by,
            precision=recipe.precision,
            profiles=tuple(map(str, recipe.profiles)),
            flags={name: value for name, value in asdict(recipe.options).items() if value},
            gpu=plain.gpu,
            chosen=tuple(_named(choice) for choice in best),
            builds=tuple(self.builds),
            not_tried=self.not_tried,
        )
        is_better = tuning.is_faster
        return Found(self.plans[best] if is_better else None, tuning if is_better else replace(tuning, chosen=()))

    def _kept(self, best: Candidate) -> list[Trial]:
        """Return the trials; kept are those that the best consists of."""
        return [
            replace(trial, kept=set(one) <= set(best) and trial.difference.is_faster)
            for one, trial in self.trials.items()
        ]

    def _entry(self, built: BuiltPlan) -> Entry:
        precision = self._recipe.precision
        about = described(self._bundle, built.plan, sha256=built.sha256)
        runner = PlanRunner(built.path, about, graphed=True, io=self._bundle.io(precision))
        warm_up = self._method.warm_up_seconds
        return Entry(runner, self._bundle.inputs_of(precision), self._sizes, self._sets, warm_up, on_device=True)

    def _check(self, name: str, process: TimedProcess) -> None:
        """Raise CheckFailed unless the plan computes what is recorded of the case."""
        case, reference = self._case
        row, io = PRECISIONS[self._recipe.precision], self._bundle.io(self._recipe.precision)
        if why := wrong_output(process.run, case, reference, precision=row, io=io):
            raise CheckFailed(
                f"the plan with {name!r} computes something else: {why}; it was not kept; please report the graph"
            )


def _named(choice: Choice) -> str:
    return f"{choice.name} ({choice.kind})"


def _form(candidate: Candidate) -> str:
    return " + ".join(map(_named, candidate)) or PLAIN


def _together(candidates: Sequence[Candidate]) -> Candidate:
    return tuple(dict.fromkeys(choice for candidate in candidates for choice in candidate))


def _trial(candidate: Candidate, pair: Pair) -> Trial:
    kind = candidate[0].kind if len(candidate) == 1 else COMBINED
    form = candidate[0].name if len(candidate) == 1 else _form(candidate)
    count = sum(choice.count for choice in candidate)
    return Trial(form, kind, count, pair.before_ms, pair.difference, kept=False)
