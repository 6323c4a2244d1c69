"""``tune --runtime tensorrt``: the graph of a bundle that TensorRT runs fastest on this GPU, judged like any other."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.bundle import Bundle, Folder, open_bundle
from ..core.extend import changing, free_name
from ..core.file_hashes import require_unchanged, sha256
from ..core.precision import FP32
from ..core.progress import Progress, silent
from ..core.tensor_spec import Axis, optima
from ..engines.environment import NO_DEVICE, ask_driver
from ..engines.tensorrt.build import BuildOptions
from ..engines.tensorrt.flavours import FLAVOURS, TENSORRT, Flavour
from ..engines.tensorrt.here import probe_flavour, why_no_flavour
from ..engines.tensorrt.plans import FOLDER, Plan, kernels_name, layers_name, tuned_name
from ..engines.tensorrt.profiles import Profile, is_held, parse_profiles
from ..engines.timing.method import Method
from ..engines.timing.trials import PlanTuning
from ..errors import CheckFailed, InputError, MissingRequirement
from ..validate.missing_cases import require_cases
from ..validate.recorded import recorded_cases
from ..validate.stages.onnxruntime import judge_graph_for_plan
from ..validate.stages.stage import TUNED_GRAPH, Stage, plan_stage
from ..validate.stages.tensorrt import judge_plans
from ..validate.verdict import PASSES, StageResult, Verdict
from .compile import known_cache, require_graph, require_readable
from .plan_cache import BuiltPlan, PlanCache, Recipe, default_folder
from .plan_combinations import Candidate, Choice
from .plan_search import PlanSearch
from .report import extend_and_report
from .tune import TunedBundle

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


@dataclass(frozen=True)
class TuneRequest:
    """The plans that ``tune_plans`` may try.

    Attributes:
        runtime: The name of the TensorRT: ``tensorrt`` or ``tensorrt-rtx``.
        precision: The bundle's graph to tune.
        at: The sizes to be fast at, ``batch=8``; the optimum of every axis that it leaves out.
        profile: The ranges of the plan, ``batch=1:8:32``; the bundle's own by default, with the optimum ``at``.
        options: What the builder is given.
        minutes: No candidate is built so long after the plan of the graph as it is is there; None for no limit.
        jobs: The builds beside each other; half of the processors by default.
        cache: Keeps plans from one run to the next; by default a folder of the user's own, emptied in the end.
    """

    runtime: str = TENSORRT.name
    precision: str = FP32
    at: str | None = None
    profile: str | None = None
    options: BuildOptions = field(default_factory=BuildOptions)
    minutes: float | None = None
    jobs: int | None = None
    cache: Path | None = None


class BundleGraphs:
    """The candidates of a bundle's graph of one precision."""

    def __init__(self, bundle: Bundle, precision: str) -> None:
        self._bundle, self._precision = bundle, precision

    @cached_property
    def _choices(self) -> Sequence[Choice]:
        from ..export.candidates import choices

        return choices(self._bundle, self._precision)

    @cached_property
    def _pairs(self) -> Sequence[Candidate]:
        from ..export.candidate_pairs import pairs

        return pairs(self._bundle, self._precision)

    def choices(self) -> Sequence[Choice]:
        """Return every choice that applies, the most promising first."""
        return self._choices

    def pairs(self) -> Sequence[Candidate]:
        """Return the pairs of choices that may do together what neither does alone."""
        return self._pairs

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
        InputError: The bundle has no graph of the precision, or a size is outside of its ranges.
        CheckFailed: A file of the bundle has changed, a candidate computes something else, or the result fails.
        StorageError: Another command changes the bundle now, or uses the same cache.
    """
    asked = request or TuneRequest()
    flavour = _flavour(asked.runtime)
    opened = open_bundle(bundle)
    _require_candidates(opened, asked.precision)
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
    require_graph(bundle, asked.precision)
    asked.options.require_for(flavour)
    version = probe_flavour(flavour).version
    if flavour is TENSORRT:
        require_readable(bundle, asked.precision, version)
    capability = ask_driver().capability
    if flavour is not TENSORRT:
        flavour.require_targets((capability,))
    known = known_cache(bundle, report) if flavour is TENSORRT else None
    return Recipe(
        bundle=bundle,
        precision=asked.precision,
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
            BundleGraphs(bundle, asked.precision),
            cache,
            sizes=sizes_of(recipe),
            case=covered_case(recipe),
            name=free_name(tuned_name(flavour, asked.precision), bundle.manifest["files"]),
            method=method,
            progress=progress,
            build_seconds=None if asked.minutes is None else 60 * asked.minutes,
            jobs=jobs,
        )
        best, tuning = search.search()
        found = TunedBundle(bundle, tuning, None) if best is None else _kept(bundle, best, tuning, progress)
        if asked.cache is None:
            cache.remove()
        return found


def _kept(bundle: Bundle, best: BuiltPlan, tuning: PlanTuning, progress: Progress) -> TunedBundle:
    """Judge the graph and its plan, and put both into the bundle. Raises CheckFailed if they fail."""
    progress("judging the tuned graph and its plan on the recorded cases")
    files, plan = _files_in(bundle, best)
    with _gone_unless_listed(bundle.path, files):
        return _judged_and_added(bundle, best, files, plan, tuning, progress)


@contextlib.contextmanager
def _gone_unless_listed(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Remove files that the manifest does not list if what happens inside fails or is interrupted."""
    try:
        yield
    except BaseException:
        listed = open_bundle(folder).manifest["files"]
        for name in names:
            if name not in listed:
                (folder / name).unlink(missing_ok=True)
        raise


def _judged_and_added(
    bundle: Bundle,
    best: BuiltPlan,
    files: Mapping[str, _Copied],
    plan: Plan,
    tuning: PlanTuning,
    progress: Progress,
) -> TunedBundle:
    """Copy the files into the bundle, judge them, and list them."""
    _copy(bundle, best, files, plan)
    listed = {name: {"role": one.role, **_facts(bundle.path / name)} for name, one in files.items()}
    (graph,) = (name for name in files if name.endswith(".onnx"))
    entry = {
        "flavour": plan.flavour,
        "precision": plan.precision,
        "file": graph,
        "graph": str(bundle.manifest["files"][bundle.graphs[plan.precision]]["sha256"]),
        "plan": best.sha256,
        "modules": dict(best.graph.modules),
    }
    held = bundle.with_entries(
        {"files": {**bundle.manifest["files"], **listed}, "plans": [plan.to_json()], "tuned_graphs": [entry]}
    )
    verdict = Verdict(tuple(judged_plan(held, plan)), source=Verdict.from_json(bundle.manifest["verdict"]).source)
    _require_passed(verdict, plan)
    entry |= {**tuning.to_json(), "verdict": verdict.to_json()}
    roles = {name: one.role for name, one in files.items()}
    return TunedBundle(_added(bundle, roles, plan, entry, progress), tuning, verdict)


def _require_passed(verdict: Verdict, plan: Plan) -> None:
    """Raise CheckFailed for a stage that failed, and if the outputs of the plan were not compared."""
    if verdict.first_failure is not None:
        raise CheckFailed(f"the tuned plan failed its verdict and was not kept: {verdict.first_failure.why}")
    wanted = plan_stage(plan.flavour, plan.precision, tuned=True)
    found = next((one for one in verdict.stages if one.stage == wanted), None)
    if found is None or found.status not in PASSES:
        why = "no stage ran it" if found is None else found.why
        raise CheckFailed(f"the tuned plan was not judged and was not kept: {why}; tune again")


def judged_plan(held: Bundle, plan: Plan) -> Iterator[StageResult]:
    """Judge the tuned graph in ONNX Runtime, and the plan: its outputs, the rows of a batch and its layers."""

    pairs = partial(recorded_cases, held)

    entry = held.tuned_graph(plan.flavour, plan.precision)
    assert entry is not None
    stage = Stage(TUNED_GRAPH[plan.flavour], plan.precision)
    yield from judge_graph_for_plan(held, held.path / entry["file"], stage, pairs)
    runtime = plan_stage(plan.flavour, plan.precision, tuned=True).runtime
    yield from (one for one in judge_plans(held, pairs) if one.stage.runtime == runtime)


class _Copied(NamedTuple):
    """A file of the plan's folder in the cache, and what it is in the bundle."""

    source: str
    role: str


def _files_in(bundle: Bundle, best: BuiltPlan) -> tuple[dict[str, _Copied], Plan]:
    """Return the plan's files and its graph's by free names in the bundle, and the plan there."""
    taken = bundle.manifest["files"]
    plan_file = free_name(best.plan.file, taken)
    names = {
        best.plan.file: plan_file,
        layers_name(best.plan.file): layers_name(plan_file),
        best.graph.name: free_name(best.graph.name, taken),
    }
    title = best.plan.product.title
    roles = {**best.files, best.graph.name: f"graph, {best.plan.precision}, rewritten for {title}"}
    data = f"{best.graph.name}.data"
    if (best.graph.folder / data).exists():
        roles[data] = "weights of the graph"
    files = {
        names.get(file) or free_name(file, taken): _Copied(file, role.replace(best.plan.file, plan_file))
        for file, role in roles.items()
    }
    return files, Plan.from_json({**best.plan.to_json(), "file": plan_file})


def _copy(bundle: Bundle, best: BuiltPlan, files: Mapping[str, _Copied], plan: Plan) -> None:
    """Copy the files into the bundle. Raises CheckFailed if the plan or its graph is not the one that was timed."""
    (bundle.path / plan.file).parent.mkdir(exist_ok=True)
    for name, one in files.items():
        shutil.copyfile(best.graph.folder / one.source, bundle.path / name)
    (graph,) = (name for name in files if name.endswith(".onnx"))
    if sha256(bundle.path / plan.file) != best.sha256 or sha256(bundle.path / graph) != plan.graph:
        raise CheckFailed(f"{best.path} is not the plan that was timed; tune again")


def _facts(file: Path) -> dict[str, Any]:
    return {"sha256": sha256(file), "bytes": file.stat().st_size}


def _added(
    bundle: Bundle, files: Mapping[str, str], plan: Plan, entry: Mapping[str, Any], progress: Progress
) -> Bundle:
    """Return the bundle with the graph and its plan, in place of earlier ones for this TensorRT and precision."""
    key = (plan.flavour, plan.precision)
    earlier = [one for one in bundle.tuned_graphs if (one["flavour"], one["precision"]) == key]
    others = [one for one in bundle.tuned_graphs if one not in earlier]
    plans, gone = [], [one["file"] for one in earlier]
    for one in map(Plan.from_json, bundle.manifest.get("plans", ())):
        if one.tuned and (one.flavour, one.precision) == key:
            gone += [one.file, layers_name(one.file), kernels_name(one.file)]
        else:
            plans.append(one.to_json())
    without = [name for name in gone if name in bundle.manifest["files"]]
    entries = {"tuned_graphs": [*others, entry], "plans": [*plans, plan.to_json()]}
    return extend_and_report(bundle, files, entries, note=progress, without=without)


def _copy_graph(graph: Path, path: Path) -> None:
    """Copy a graph; weights beside it are found by the name that the new one gives."""
    if (graph.parent / f"{graph.name}.data").exists():
        import onnx_ir as ir

        from ..core.graph import save

        save(ir.load(str(graph)), path)
    else:
        shutil.copyfile(graph, path)
