"""Find the graph that a TensorRT runs fastest on this GPU: candidates are built as plans, checked, and timed in turn.

A build takes from seconds to minutes, a comparison a few. So every choice is tried by itself beside the plan of the
graph as it is, then several together (plan_combinations.py), the best so far beside what may be better, as long as
something is. Of many plans that are as fast one looks faster by chance: what wins beside others has to win once more
alone. What there is no time for is listed. At the end the whole is held against the plan of the graph as it was.
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
from .plan_cache import BuiltPlan, PlanCache, Recipe, WrittenGraph
from .plan_combinations import MOST, PLAIN, Candidate, Choice, beside, named, title, together, winners
from .timed_comparison import TimedComparison

COMBINED = "several"
# of the time for builds, what the choices by themselves may take
SINGLES_SHARE = 2 / 3
WHOLE = "tuned"


class Graphs(Protocol):
    """The graphs that compute the same."""

    @property
    def choices(self) -> Sequence[Choice]:
        """Every choice that applies, the most promising first."""
        ...

    @property
    def pairs(self) -> Sequence[Candidate]:
        """The pairs of choices of two kinds that may do together what neither does alone.

        One of a pair may be none of the choices: it applies only beside the other.
        """
        ...

    def write(self, chosen: Sequence[Choice], path: Path) -> Mapping[str, str]:
        """Write the graph with these choices, without any the graph as it is; return the module of each node.

        Raises InputError for choices that do not go together or change nothing.
        """
        ...


class SearchResult(NamedTuple):
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
        self._comparison = TimedComparison[BuiltPlan](
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

    def search(self) -> SearchResult:
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
        choices = self._graphs.choices
        most = len(choices) if self._most is None else self._most
        self.not_tried |= {named(choice): f"only {most} choices were to be tried" for choice in choices[most:]}
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

    def build_together(self) -> None:
        """Build the winners together, and what is to be tried beside them, beside each other."""
        if self._build_seconds is not None:
            self._cache.build_until(time.monotonic() + self._build_seconds * (1 - SINGLES_SHARE))
        timed = self._timed()
        several = together(timed)
        best = several[0] if several else tuple(winners(timed))
        self._build([*several, *self._beside(best)])

    def combine(self) -> SearchResult:
        """Try choices together as long as the best of them is faster; hold the whole against the graph as it was."""
        timed = self._timed()
        best = self._improved(tuple(winners(timed)[:1]), together(timed))
        while True:
            better = self._improved(best, self._beside(best))
            if better == best:
                return self._whole(best)
            best = better

    def _timed(self) -> dict[Choice, Difference]:
        """Return the difference of each choice by itself, the most promising first."""
        return {one[0]: trial.difference for one, trial in self.trials.items() if len(one) == 1}

    def _beside(self, best: Candidate) -> list[Candidate]:
        """Return what is to be tried beside the best; nothing if enough was tried."""
        timed, known = self._timed(), {*self._graphs.choices}
        # a choice that applies alone, but has no time, was refused or left out
        pairs = [pair for pair in self._graphs.pairs if all(one in timed or one not in known for one in pair)]
        several = sum(len(one) > 1 for one in self.plans)
        return beside(best, timed, pairs, self._is_tried)[: max(0, MOST - several)]

    def _is_tried(self, one: Candidate) -> bool:
        return one in self.trials or title(one) in self.not_tried

    def _improved(self, best: Candidate, others: Sequence[Candidate]) -> Candidate:
        """Return the fastest of the others that is faster than the best, or the best.

        What was built but not timed yet is among the others.
        """
        if new := [one for one in others if one not in self.plans and not self._is_tried(one)]:
            self._progress(f"building {len(new)} combinations")
            self._build(new)
        built = [one for one in self.plans if len(one) > 1 and not self._is_tried(one)]
        if not built:
            return best
        self._progress(f"timing {len(built)} combinations beside {title(best)}")
        found = self._try(best, built)
        faster = sorted((one for one in found if found[one].is_faster), key=lambda one: found[one].sum_ms)
        if len(found) == 1:
            return next(iter(faster), best)
        return next((one for one in faster if self._is_faster_again(best, one)), best)

    def _is_faster_again(self, best: Candidate, one: Candidate) -> bool:
        """Return True if a candidate that was the fastest of many is faster than the best alone, too."""
        return any(difference.is_faster for difference in self._try(best, [one], checked=True).values())

    def _build(self, wanted: Sequence[Candidate]) -> None:
        """Write and build candidates; one that cannot be is noted, unless it is the graph as it is."""
        written: dict[str, WrittenGraph] = {}
        by_title = {title(one): one for one in wanted if one not in self.plans}
        if by_title and (why := self._cache.why_not_now()):
            if PLAIN in by_title:
                raise CheckFailed(f"the plan of the graph as it is was not built: {why}")
            self.not_tried |= dict.fromkeys(by_title, why)
            return
        for name, one in by_title.items():
            try:
                with self._cache.writing(self._name) as path:
                    written[name] = self._cache.keep_graph(path, self._graphs.write(one, path))
            except InputError as error:
                self.not_tried[name] = str(error)
        for name, built in self._cache.build(written).items():
            same = None if isinstance(built, str) else self._with_graph(built.graph.folder)
            if same is not None:
                self.not_tried[name] = f"TensorRT reads the same network as for {title(same)}"
            elif not isinstance(built, str):
                self.plans[by_title[name]] = built
                self.builds.append({"form": name, "seconds": built.plan.seconds})
            elif name == PLAIN:
                raise CheckFailed(f"the plan of the graph as it is was not built: {built}")
            else:
                self.not_tried[name] = built
                self.builds.append({"form": name, "why": built})

    def _with_graph(self, folder: Path) -> Candidate | None:
        """Return the candidate that has the plan of the graph in a folder; None if there is none yet."""
        return next((one for one, built in self.plans.items() if built.graph.folder == folder), None)

    def _try(
        self, before: Candidate, after: Sequence[Candidate], *, checked: bool = False
    ) -> dict[Candidate, Difference]:
        """Time plans beside one; returns the difference of each, which is its trial from then on."""
        by_title = {title(one): one for one in after}
        if not by_title:
            return {}
        plans = {name: self.plans[one] for name, one in by_title.items()}
        pairs = self._comparison.compared(self.plans[before], plans, checked=checked)
        for name, pair in pairs.items():
            self.trials[by_title[name]] = _trial(by_title[name], pair)
        return {by_title[name]: pair.difference for name, pair in pairs.items()}

    def _whole(self, best: Candidate) -> SearchResult:
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
            chosen=tuple(named(choice) for choice in best),
            builds=tuple(self.builds),
            not_tried=self.not_tried,
        )
        is_better = tuning.is_faster
        return SearchResult(
            self.plans[best] if is_better else None, tuning if is_better else replace(tuning, chosen=())
        )

    def _kept(self, best: Candidate) -> list[Trial]:
        """Return the trials; those that the best plan consists of are marked as kept."""
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


def _trial(candidate: Candidate, pair: Pair) -> Trial:
    kind = candidate[0].kind if len(candidate) == 1 else COMBINED
    name = candidate[0].name if len(candidate) == 1 else title(candidate)
    count = sum(choice.count for choice in candidate)
    return Trial(name, kind, count, pair.before_ms, pair.difference, kept=False)
