"""Put the plan that a search found fastest into its bundle, with its graph, once both have passed their verdict."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..core.bundle import Bundle, open_bundle
from ..core.extend import free_name
from ..core.file_hashes import file_entry, sha256
from ..core.progress import Progress
from ..engines.tensorrt.plans import Plan, kernels_name, layers_name
from ..engines.timing.trials import PlanTuning
from ..errors import CheckFailed
from ..validate.recorded import recorded_cases
from ..validate.stages.onnxruntime import judge_graph_for_plan
from ..validate.stages.stage import TUNED_GRAPH, Stage, plan_stage
from ..validate.stages.tensorrt import judge_plans
from ..validate.verdict import PASSES, StageResult, Verdict
from .plan_cache import BuiltPlan
from .report import extend_and_report
from .tune import TunedBundle


def keep_plan(bundle: Bundle, best: BuiltPlan, tuning: PlanTuning, progress: Progress) -> TunedBundle:
    """Judge a graph and its plan, and put both into the bundle. Raises CheckFailed if they fail."""
    progress("judging the tuned graph and its plan on the recorded cases")
    kept = _Kept.of(bundle, best)
    with _gone_unless_listed(bundle.path, kept.roles):
        _copy(bundle, best, kept)
        plan, entry = kept.plan, kept.entry(bundle, best)
        listed = {name: file_entry(bundle.path / name, role) for name, role in kept.roles.items()}
        held = bundle.with_entries(
            {"files": {**bundle.manifest["files"], **listed}, "plans": [plan.to_json()], "tuned_graphs": [entry]}
        )
        verdict = Verdict(tuple(judged_plan(held, plan)), source=Verdict.from_json(bundle.manifest["verdict"]).source)
        _require_passed(verdict, plan)
        entry |= {**tuning.to_json(), "verdict": verdict.to_json()}
        return TunedBundle(_added(bundle, kept, entry, progress), tuning, verdict)


@dataclass(frozen=True)
class _Kept:
    """A plan and its graph under names that are free in the bundle.

    Attributes:
        plan: The plan there.
        graph: The name of its graph.
        roles: What each file is, by its name in the bundle.
        sources: The name of each file in the plan's folder of the cache.
    """

    plan: Plan
    graph: str
    roles: Mapping[str, str]
    sources: Mapping[str, str]

    @classmethod
    def of(cls, bundle: Bundle, best: BuiltPlan) -> _Kept:
        """Choose the names."""
        taken = bundle.manifest["files"]
        plan_file, graph = free_name(best.plan.file, taken), free_name(best.graph.name, taken)
        names = {
            best.plan.file: plan_file,
            layers_name(best.plan.file): layers_name(plan_file),
            best.graph.name: graph,
        }
        title = best.plan.product.title
        roles = {**best.files, best.graph.name: f"graph, {best.plan.precision}, rewritten for {title}"}
        data = f"{best.graph.name}.data"
        if (best.graph.folder / data).exists():
            roles[data] = "weights of the graph"
        sources = {names.get(file) or free_name(file, taken): file for file in roles}
        return cls(
            Plan.from_json({**best.plan.to_json(), "file": plan_file}),
            graph,
            {name: roles[file].replace(best.plan.file, plan_file) for name, file in sources.items()},
            sources,
        )

    def entry(self, bundle: Bundle, best: BuiltPlan) -> dict[str, Any]:
        """Return the manifest's entry of the graph."""
        return {
            "flavour": self.plan.flavour,
            "precision": self.plan.precision,
            "file": self.graph,
            "graph": str(bundle.manifest["files"][bundle.graphs[self.plan.precision]]["sha256"]),
            "plan": best.sha256,
            "modules": dict(best.graph.modules),
        }


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


def _copy(bundle: Bundle, best: BuiltPlan, kept: _Kept) -> None:
    """Copy the files into the bundle. Raises CheckFailed if the plan or its graph is not the one that was timed."""
    (bundle.path / kept.plan.file).parent.mkdir(exist_ok=True)
    for name, source in kept.sources.items():
        shutil.copyfile(best.graph.folder / source, bundle.path / name)
    if sha256(bundle.path / kept.plan.file) != best.sha256 or sha256(bundle.path / kept.graph) != kept.plan.graph:
        raise CheckFailed(f"{best.path} is not the plan that was timed; tune again")


def judged_plan(held: Bundle, plan: Plan) -> Iterator[StageResult]:
    """Judge the tuned graph in ONNX Runtime, and the plan: its outputs, the rows of a batch and its layers."""
    entry, pairs = held.tuned_graph(plan.flavour, plan.precision), partial(recorded_cases, held)
    assert entry is not None
    stage = Stage(TUNED_GRAPH[plan.flavour], plan.precision)
    yield from judge_graph_for_plan(held, held.path / entry["file"], stage, pairs)
    runtime = plan_stage(plan.flavour, plan.precision, tuned=True).runtime
    yield from (one for one in judge_plans(held, pairs) if one.stage.runtime == runtime)


def _require_passed(verdict: Verdict, plan: Plan) -> None:
    """Raise CheckFailed for a stage that failed, and if the outputs of the plan were not compared."""
    if verdict.first_failure is not None:
        raise CheckFailed(f"the tuned plan failed its verdict and was not kept: {verdict.first_failure.why}")
    wanted = plan_stage(plan.flavour, plan.precision, tuned=True)
    found = next((one for one in verdict.stages if one.stage == wanted), None)
    if found is None or found.status not in PASSES:
        why = "no stage ran it" if found is None else found.why
        raise CheckFailed(f"the tuned plan was not judged and was not kept: {why}; tune again")


def _added(bundle: Bundle, kept: _Kept, entry: Mapping[str, Any], progress: Progress) -> Bundle:
    """Return the bundle with the graph and its plan, in place of earlier ones for this TensorRT and precision."""
    key = (kept.plan.flavour, kept.plan.precision)
    earlier = [one for one in bundle.tuned_graphs if (one["flavour"], one["precision"]) == key]
    others = [one for one in bundle.tuned_graphs if one not in earlier]
    plans, gone = [], [one["file"] for one in earlier]
    for one in map(Plan.from_json, bundle.manifest.get("plans", ())):
        if one.tuned and (one.flavour, one.precision) == key:
            gone += [one.file, layers_name(one.file), kernels_name(one.file)]
        else:
            plans.append(one.to_json())
    without = [name for name in gone if name in bundle.manifest["files"]]
    entries = {"tuned_graphs": [*others, entry], "plans": [*plans, kept.plan.to_json()]}
    return extend_and_report(bundle, kept.roles, entries, note=progress, without=without)
