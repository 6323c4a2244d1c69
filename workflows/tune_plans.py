"""``tune --runtime tensorrt``: the graph of a bundle that TensorRT runs fastest on this GPU, judged like any other."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import checked
from ..core.bundle import Bundle, Folder, open_bundle
from ..core.destination import check_outside_bundles
from ..core.extend import changing, free_name
from ..core.file_hashes import require_unchanged
from ..core.progress import Progress, silent
from ..core.tensor_spec import Axis, optima
from ..engines.environment import ask_driver
from ..engines.tensorrt.build import BuildOptions
from ..engines.tensorrt.device import NO_DEVICE
from ..engines.tensorrt.flavours import FLAVOURS, TENSORRT, Flavour
from ..engines.tensorrt.here import probe_flavour, why_no_flavour
from ..engines.tensorrt.plans import FOLDER, tuned_name
from ..engines.tensorrt.profiles import Profile, is_held, parse_profiles
from ..engines.timing.method import Method
from ..errors import InputError, MissingRequirement
from ..validate.missing_cases import require_cases
from ..validate.recorded import recorded_cases
from .compile import known_cache, require_graph, require_readable
from .plan_cache import PlanCache, Recipe, default_folder
from .plan_combinations import Candidate, Choice
from .plan_search import PlanSearch
from .tune import TunedBundle
from .tuned_plan import keep_plan

if TYPE_CHECKING:
    from ..validate.cases import Case
    from ..validate.metrics import Reference

# Even, so that each plan is timed as often before the others as after them. A GPU is steady: a few hundredths of a
# second are hundreds of calls of a block.
METHOD = Method(
    seconds=0.6,
    iterations=60,
    max_seconds=3.0,
    rounds=12,
    warm_up_seconds=0.2,
    settle_seconds=0.005,
    pause_seconds=0.005,
    hot_share=0.0,
)


@checked
@dataclass(frozen=True)
class TuneRequest:
    """The plans that ``tune_plans`` may try.

    Attributes:
        runtime: The name of the TensorRT: ``tensorrt`` or ``tensorrt-rtx``.
        precision: The graph to tune; by default the one that the bundle's others are made of.
        at: The sizes to be fast at, ``batch=8``; the optimum of every axis that it leaves out.
        profile: The ranges of the plan, ``batch=1:8:32``; the bundle's own by default, with the optimum ``at``.
        options: What the builder is given.
        minutes: No candidate is built so long after the plan of the graph as it is is there; None for no limit.
        jobs: The builds beside each other; half of the processors by default.
        cache: Keeps plans from one run to the next; by default a folder of the user's own, emptied in the end.
    """

    runtime: str = TENSORRT.name
    precision: str | None = None
    at: str | None = None
    profile: str | None = None
    options: BuildOptions = field(default_factory=BuildOptions)
    minutes: float | None = None
    jobs: int | None = None
    cache: Path | None = None

    def precision_of(self, bundle: Bundle) -> str:
        """Return the precision of the bundle's graph to tune."""
        return self.precision or bundle.precision


class BundleGraphs:
    """The candidates of a bundle's graph of one precision."""

    def __init__(self, bundle: Bundle, precision: str) -> None:
        self._bundle, self._precision = bundle, precision

    @cached_property
    def choices(self) -> Sequence[Choice]:
        """Every choice that applies, the most promising first."""
        from ..export.candidates import choices

        return choices(self._bundle, self._precision)

    @cached_property
    def pairs(self) -> Sequence[Candidate]:
        """The pairs of choices that may do together what neither does alone."""
        from ..export.candidate_pairs import pairs

        return pairs(self._bundle, self._precision)

    def write(self, chosen: Sequence[Any], path: Path) -> Mapping[str, str]:
        """Write the graph with these choices, without any the bundle's own; return the module of each node.

        Raises InputError for choices that do not go together or change nothing.
        """
        from ..export.candidates import write

        if chosen:
            return write(self._bundle, self._precision, chosen, path)
        graph = self._bundle.path / self._bundle.graphs[self._precision]
        _copy_graph(graph, path)
        return self._bundle.node_modules(self._precision)


@checked
def tune_plans(
    bundle: Folder,
    request: TuneRequest | None = None,
    *,
    method: Method | None = None,
    progress: Progress | None = None,
) -> TunedBundle:
    """Try every candidate as a plan on this machine's GPU; the fastest graph and its plan become part of the bundle.

    Interrupted, the bundle is as before, and plans that were built are found again. Killed at any moment, it is whole.

    Args:
        bundle: The bundle, or its folder.
        request: The plans to try.
        method: The rules of the clock.
        progress: Called with a line for every step.

    Returns:
        The bundle, what was tried, and the verdict on the graph and its plan. If none is faster beyond doubt than the
        plan of the bundle's own graph, the verdict is None and the bundle as it was.

    Raises:
        MissingRequirement: There is no GPU, or no TensorRT that can use it.
        InputError: The bundle has no graph of the precision, a size is outside of its ranges, or the cache lies in one.
        CheckFailed: A file of the bundle has changed, a candidate computes something else, or the result fails.
        StorageError: Another command changes the bundle now, or uses the same cache.
    """
    asked = request or TuneRequest()
    flavour = _flavour(asked.runtime)
    opened = open_bundle(bundle)
    if asked.cache is not None:
        check_outside_bundles(asked.cache, asked.cache, "--cache")
    _require_candidates(opened, asked.precision_of(opened))
    asked.options.require_for(flavour)
    _profile(opened, asked)
    if why := why_no_flavour(flavour):
        raise MissingRequirement(f"tuning for {flavour.title} needs a GPU that runs it here: {why}; {NO_DEVICE}")
    with changing(bundle) as current:
        _require_writable(current)
        return _tuned(current, asked, flavour, method or METHOD, progress or silent)


def _require_candidates(bundle: Bundle, precision: str) -> None:
    """Raise InputError for a precision of which the bundle has no graph, or no candidates are written."""
    from ..export.candidates import require_candidates

    require_graph(bundle, precision)
    require_candidates(bundle, precision)


def _require_writable(bundle: Bundle) -> None:
    """Raise OSError if nothing can be written into the bundle, before minutes of builds rather than after them."""
    plans = bundle.path / FOLDER
    for folder in (bundle.path, *([plans] if plans.exists() else [])):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def recipe_of(bundle: Bundle, asked: TuneRequest, flavour: Flavour, report: Progress = silent) -> Recipe:
    """Return what all plans of a request have in common.

    Raises InputError for ranges outside of the bundle's, a precision that it does not have or that this TensorRT does
    not read, and an option that is not for it.
    """
    precision = asked.precision_of(bundle)
    require_graph(bundle, precision)
    asked.options.require_for(flavour)
    version = probe_flavour(flavour).version
    if flavour is TENSORRT:
        require_readable(bundle, precision, version)
    capability = ask_driver().capability
    if flavour is not TENSORRT:
        flavour.require_targets((capability,))
    known = known_cache(bundle, report) if flavour is TENSORRT else None
    return Recipe(
        bundle=bundle,
        precision=precision,
        flavour=flavour,
        version=version,
        profiles=(_profile(bundle, asked),),
        targets=() if flavour is TENSORRT else (capability,),
        options=asked.options,
        known_cache=None if known is None else ((bundle.path / known[0]).resolve(), known[1]),
    )


def covered_case(recipe: Recipe) -> tuple[Case, Reference]:
    """Return the first recorded case that the profile holds. Raises InputError if there is none."""
    bundle, io = recipe.bundle, recipe.bundle.io(recipe.precision)
    for case, reference in recorded_cases(bundle):
        if case.is_for(io) and is_held(recipe.profiles, case.sizes):
            return case, reference
    (profile,) = recipe.profiles
    raise InputError(f"received the ranges {profile}, in which no case was recorded; give a wider --profile")


def sizes_of(recipe: Recipe) -> dict[str, int]:
    """Return the size of every axis that plans are timed at."""
    return optima(recipe.profiles[0].axes)


def _profile(bundle: Bundle, asked: TuneRequest) -> Profile:
    """Return the ranges of the plans, whose optimum is the sizes to be fast at."""
    (profile,) = parse_profiles([] if asked.profile is None else [asked.profile], bundle.axes)
    if asked.at is None:
        return profile
    (at,) = parse_profiles([asked.at], profile.axes, option="--at")
    named = {part.partition("=")[0] for part in asked.at.split(",")}
    chosen = {name: at.axes[name].opt for name in named}
    axes = {
        name: Axis(axis.min, chosen.get(name, axis.opt), axis.max, axis.multiple) for name, axis in profile.axes.items()
    }
    return Profile(axes)


def _flavour(name: str) -> Flavour:
    if name not in FLAVOURS:
        raise InputError(f"received --runtime {name}; expected {' or '.join(FLAVOURS)}; correct the name")
    return FLAVOURS[name]


def _tuned(bundle: Bundle, asked: TuneRequest, flavour: Flavour, method: Method, progress: Progress) -> TunedBundle:
    """Tune a bundle that no other command changes."""
    progress("checking hashes")
    require_unchanged(bundle)
    require_cases(bundle)
    recipe = recipe_of(bundle, asked, flavour, progress)
    jobs = asked.jobs or max(1, (os.cpu_count() or 1) // 2)
    with PlanCache(asked.cache or default_folder(), recipe, jobs=jobs) as cache:
        search = PlanSearch(
            recipe,
            BundleGraphs(bundle, recipe.precision),
            cache,
            sizes=sizes_of(recipe),
            case=covered_case(recipe),
            name=free_name(tuned_name(flavour, recipe.precision), bundle.manifest["files"]),
            method=method,
            progress=progress,
            build_seconds=None if asked.minutes is None else 60 * asked.minutes,
            jobs=jobs,
        )
        best, tuning = search.search()
        found = TunedBundle(bundle, tuning, None) if best is None else keep_plan(bundle, best, tuning, progress)
        if asked.cache is None:
            cache.remove()
        return found


def _copy_graph(graph: Path, path: Path) -> None:
    """Copy a graph; weights beside it are found by the name that the new one gives."""
    if (graph.parent / f"{graph.name}.data").exists():
        import onnx_ir as ir

        from ..core.graph import save

        save(ir.load(str(graph)), path)
    else:
        shutil.copyfile(graph, path)
