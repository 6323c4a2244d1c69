"""The search of a case at a batch, done by several processes: what one has found is in its row, for the next."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attn2trt.core.bundle import open_bundle
from attn2trt.core.plain_data import plain
from attn2trt.engines.tensorrt.build import BuildOptions
from attn2trt.engines.tensorrt.flavours import TENSORRT
from attn2trt.engines.tensorrt.plan_build import CACHE
from attn2trt.engines.timing.method import Method
from attn2trt.engines.timing.paired import Difference
from attn2trt.engines.timing.trials import Trial
from attn2trt.errors import CheckFailed
from attn2trt.workflows.plan_cache import PlanCache, Recipe
from attn2trt.workflows.plan_combinations import Candidate, Choice
from attn2trt.workflows.plan_search import PlanSearch
from attn2trt.workflows.tune_plans import BundleGraphs, TuneRequest, covered_case, recipe_of, sizes_of

from .exporting import bundle_path
from .tune_work import TuneCase, profile_of

PLANS = "plans"
# A GPU is steady: a hundredth of a second is hundreds of calls of a block.
METHOD = Method(
    seconds=0.12, iterations=12, max_seconds=1.0, rounds=12, warm_up_seconds=0.05, settle_seconds=0.002,
    pause_seconds=0.002, hot_share=0.0,
)  # fmt: skip
# of a graph's candidates, the most promising
MOST = 12
GRAPH = "model.tuned.onnx"


@dataclass(frozen=True)
class Place:
    """The place of the plans of a case at a batch in a precision, and the way in which they are built.

    Attributes:
        folder: The run's.
        case: The case.
        batch: The batch that plans are made for.
        precision: Of the graph.
        options: What the builder is given.
        jobs: The builds beside each other.
        carried: A folder with kernels that an earlier run has timed; those that this one has timed are known anyway.
    """

    folder: Path
    case: TuneCase
    batch: int
    precision: str
    options: BuildOptions
    jobs: int = 1
    carried: Path | None = None

    def recipe(self) -> Recipe:
        """Return what its plans have in common. Raises what ``recipe_of`` raises."""
        request = TuneRequest(precision=self.precision, profile=profile_of(self.batch), options=self.options)
        return recipe_of(open_bundle(bundle_path(self.folder, self.case)), request, TENSORRT)

    def cache(self, recipe: Recipe) -> PlanCache:
        """Return the cache of its plans, not held yet."""
        root = self.folder.resolve() / PLANS / f"{self.case.name}-{self.batch}-{self.precision}"
        return PlanCache(root, recipe, jobs=self.jobs, kernels=self._kernels(root))

    def _kernels(self, root: Path) -> list[Path]:
        """Return the files with kernels of other cases, and of the earlier run."""
        of_others = [file for file in sorted(root.parent.glob(f"*/*/*/{CACHE}")) if root not in file.parents]
        carried = [] if self.carried is None else sorted(self.carried.resolve().rglob("*.cache"))
        return [*of_others, *carried]


class Search:
    """A search at a place: what rows hold of it, and what one holds afterwards."""

    def __init__(self, place: Place, cache: PlanCache, recipe: Recipe, seconds: float | None) -> None:
        graphs = BundleGraphs(recipe.bundle, place.precision)
        self.recipe, self._cache, self._graphs = recipe, cache, graphs
        self.sizes, self.case = sizes_of(recipe), covered_case(recipe)
        self.search = PlanSearch(
            recipe,
            graphs,
            cache,
            sizes=self.sizes,
            case=self.case,
            name=GRAPH,
            method=METHOD,
            progress=lambda text: print(f"{place.case.name} at {place.batch}: {text}", flush=True),
            build_seconds=seconds,
            most=MOST,
            jobs=place.jobs,
        )

    def take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take up what earlier steps have found, from the first to the last.

        Raises CheckFailed if a plan is gone or damaged.
        """
        choices = self._choices(one for row in rows for one in (*row.get("plans", ()), *row.get("trials", ())))
        for row in rows:
            for one in row.get("plans", ()):
                built = self._cache.known(self._cache.graph_in(one["folder"]))
                if built is None:
                    raise CheckFailed(f"the plan in {one['folder']} is gone or damaged; remove the row, and run again")
                self.search.plans[_candidate(one, choices)] = built
            for one in row.get("trials", ()):
                self.search.trials[_candidate(one, choices)] = _trial(one)
            self.search.builds += row.get("builds", ())
            self.search.not_tried |= row.get("not_tried", {})

    def _choices(self, entries: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Choice]:
        """Return the choices of a graph by kind and name; those that pairs alone have only if the entries have some."""
        wanted = {(kind, name) for entry in entries for kind, name in entry["choices"]}
        found = {_key(one): one for one in (self._graphs.choices if wanted else ())}
        if wanted - found.keys():
            found = {_key(one): one for pair in self._graphs.pairs for one in pair} | found
        return found

    def found(self) -> dict[str, Any]:
        """Return everything that is known so far, for the row of this step."""
        search = self.search
        plans = [{"choices": _choices(one), "folder": built.graph.folder.name} for one, built in search.plans.items()]
        trials = [{"choices": _choices(one), **plain(trial)} for one, trial in search.trials.items()]
        builds = [dict(build) for build in search.builds]
        return {"plans": plans, "trials": trials, "builds": builds, "not_tried": dict(search.not_tried)}

    def build_nothing(self) -> None:
        """Let no build begin from here on."""
        self._cache.build_until(time.monotonic())


@contextmanager
def building(place: Place, seconds: float | None = None) -> Iterator[Search]:
    """Give a search that may build; candidates end so many seconds after the plan of the graph as it is is there."""
    recipe = place.recipe()
    with place.cache(recipe) as cache:
        yield Search(place, cache, recipe, seconds)


def reading(place: Place) -> Search:
    """Return a search that builds nothing: another one may be building meanwhile."""
    recipe = place.recipe()
    found = Search(place, place.cache(recipe), recipe, None)
    found.build_nothing()
    return found


def _key(choice: Choice) -> tuple[str, str]:
    return choice.kind, choice.name


def _choices(candidate: Candidate) -> list[list[str]]:
    return [[*_key(choice)] for choice in candidate]


def _candidate(entry: Mapping[str, Any], choices: Mapping[tuple[str, str], Choice]) -> Candidate:
    names = [(kind, name) for kind, name in entry["choices"]]
    if unknown := [name for name in names if name not in choices]:
        raise CheckFailed(f"{unknown[0]} is no candidate any more; remove the row, and run again")
    return tuple(choices[name] for name in names)


def _trial(entry: Mapping[str, Any]) -> Trial:
    known = {name: entry[name] for name in ("form", "kind", "count", "before_ms", "kept")}
    return Trial(**known, difference=Difference(**entry["difference"]))
