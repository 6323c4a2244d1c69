"""Find the graph that a TensorRT runs fastest on this GPU: candidates are built as plans, checked, and timed in turn.

A build takes from seconds to minutes, a comparison a few. So every choice is tried by itself beside the plan of the
graph as it is; the winners of different kinds of places are then combined, the most wanted combination first; what was
left is tried beside the best. What there is no time for is listed. At the end the whole is held against the plan of
the graph as it was.
"""

from __future__ import annotations

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

    Attributes:
        plain: The plan of the graph as it is, once it is built.

    Args:
        recipe: What all plans have in common.
        graphs: Writes candidates.
        cache: Builds plans, and keeps them.
        sizes: The size of every dynamic axis that plans are timed at.
        case: A recorded case that the profiles hold, with what PyTorch computed.
        name: The file's name of a candidate.
        method: The rules of the clock.
        progress: Called with a line for every step.
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
    ) -> None:
        self._recipe, self._graphs, self._cache = recipe, graphs, cache
        self._sizes, self._case, self._name = sizes, case, name
        self._method, self._progress = method, progress
        self._bundle = recipe.bundle
        self._sets = rotated_sets(recipe.bundle.inputs_of(recipe.precision), sizes, GPU_CACHE_BYTES)
        self._plans: dict[Candidate, BuiltPlan] = {}
        self._trials: dict[Candidate, Trial] = {}
        self._builds: list[Mapping[str, Any]] = []
        self._not_tried: dict[str, str] = {}
        self._comparison = Comparison[BuiltPlan](
            self._entry,
            self._check,
            method,
            threads=1,
            watch=MachineWatch(CoreWatch(lambda: None)),
            on_failure=self._not_tried.__setitem__,
        )

    def search(self) -> Found:
        """Return the fastest plan, if it is faster than that of the graph as it is, and everything that was tried.

        Raises CheckFailed if the graph as it is cannot be built, or if a candidate computes something else.
        """
        self.build_singles()
        return self.combine(self.time_singles())

    def build_singles(self) -> None:
        """Build the plan of the graph as it is, then one for every choice, beside each other."""
        self._progress("building the plan of the graph as it is")
        self._build([()])
        singles = [(choice,) for choice in self._graphs.choices()]
        self._progress(f"building {len(singles)} candidates")
        self._build(singles)

    def time_singles(self) -> list[Candidate]:
        """Time every choice by itself; return for each kind of place the fastest that is faster, the best first."""
        singles = [candidate for candidate in self._plans if candidate]
        self._progress(f"timing {len(singles)} candidates beside the graph as it is")
        found = self._try((), singles)
        winners = []
        for kind in dict.fromkeys(candidate[0].kind for candidate in singles):
            of_kind = {_form(one): found[one] for one in singles if one[0].kind == kind and one in found}
            name = fastest(of_kind)
            winners += [one for one in singles if _form(one) == name]
        return sorted(winners, key=lambda one: found[one].ms)

    def combine(self, winners: Sequence[Candidate]) -> Found:
        """Try the winners together, then what was left beside the best; hold the whole against the graph as it was."""
        best: Candidate = ()
        if winners:
            together = [_together(winners[:count]) for count in range(len(winners), 1, -1)]
            best = self._improved(winners[0], together, f"combining {len(winners)} choices")
            best = self._beside_the_best(best)
        return self._whole(best)

    def _beside_the_best(self, best: Candidate) -> Candidate:
        """Try every choice of another kind that is not clearly slower beside the best, as long as one pays off."""
        while True:
            kinds = {choice.kind for choice in best}
            left = [
                _together([best, one])
                for one, trial in self._trials.items()
                if len(one) == 1 and one[0].kind not in kinds and not trial.difference.low_ms > 0
            ]
            left = [one for one in left if one not in self._trials]
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
        found = self._try(best, [one for one in others if one in self._plans])
        name = fastest({_form(one): difference for one, difference in found.items()})
        return next((one for one in others if _form(one) == name), best)

    def _build(self, wanted: Sequence[Candidate]) -> None:
        """Write and build candidates; one that cannot be is noted, unless it is the graph as it is."""
        written: dict[str, WrittenGraph] = {}
        by_form = {_form(one): one for one in wanted if one not in self._plans}
        for form, one in by_form.items():
            try:
                with self._cache.writing(self._name) as path:
                    written[form] = self._cache.keep_graph(path, self._graphs.write(one, path))
            except InputError as error:
                self._not_tried[form] = str(error)
        for form, built in self._cache.build(written).items():
            if not isinstance(built, str):
                self._plans[by_form[form]] = built
                self._builds.append({"form": form, "seconds": built.plan.seconds})
            elif form == PLAIN:
                raise CheckFailed(f"the plan of the graph as it is was not built: {built}")
            else:
                self._not_tried[form] = built
                self._builds.append({"form": form, "why": built})

    def _try(self, before: Candidate, after: Sequence[Candidate]) -> dict[Candidate, Difference]:
        """Time plans beside one; returns the difference of each, which is a trial."""
        by_form = {_form(one): one for one in after}
        if not by_form:
            return {}
        plans = {form: self._plans[one] for form, one in by_form.items()}
        pairs = self._comparison.compared(self._plans[before], plans)
        for form, pair in pairs.items():
            self._trials[by_form[form]] = _trial(by_form[form], pair)
        return {by_form[form]: pair.difference for form, pair in pairs.items()}

    def _whole(self, best: Candidate) -> Found:
        whole = None
        if best:
            self._progress("timing the whole against the graph as it was")
            whole = self._comparison.compared(self._plans[()], {WHOLE: self._plans[best]}, checked=True).get(WHOLE)
        plain, recipe = self._plans[()].plan, self._recipe
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
            builds=tuple(self._builds),
            not_tried=self._not_tried,
        )
        is_better = tuning.is_faster
        return Found(self._plans[best] if is_better else None, tuning if is_better else replace(tuning, chosen=()))

    def _kept(self, best: Candidate) -> list[Trial]:
        """Return the trials; kept are those that the best consists of."""
        return [
            replace(trial, kept=set(one) <= set(best) and trial.difference.is_faster)
            for one, trial in self._trials.items()
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
                f"the plan with {name!r} computes something else: {why}; nothing was kept; please report the graph"
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
