"""The runtimes that a bundle has files for beside its own graph, each with its stage, and why one cannot run here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...core.bundle import Bundle
from ...core.manifest import MODEL
from ...engines.environment import ask_driver, try_provider
from ...engines.isolated import IsolatedRuntime
from ...engines.tensorrt.here import why_not_runnable
from ...engines.tensorrt.isolated import IsolatedPlan
from ...engines.tensorrt.plans import Plan, is_of_its_graph, plans_of
from ...engines.timing.runtimes import PROVIDERS, why_no_provider
from ..verdict import FAILED, StageResult, not_checked
from .ort_process import ON_GPU, start
from .stage import ORT_TUNED, TUNED_GRAPH, Stage, lower_stages, plan_stage


@dataclass(frozen=True)
class BundleRuntime:
    """The runtime of a file of a bundle.

    Attributes:
        stage: The runtime and its precision.
        start: Starts its process; None if ``why_not`` says why it cannot.
        why_not: The reason.
        is_outdated: That reason is a mistake in the bundle: the file was made from another graph.
        is_here: The runtime was found to work, so that a graph for which it lacks something has failed.
        plan: The plan that it runs, if it is one.
        graph: The graph that it runs, if it is no plan.
    """

    stage: Stage
    start: Callable[[], IsolatedRuntime | IsolatedPlan] | None
    why_not: str = ""
    is_outdated: bool = False
    is_here: bool = False
    plan: Plan | None = None
    graph: Path | None = None

    @classmethod
    def of_graph(cls, stage: Stage, graph: Path, *, is_here: bool = False) -> BundleRuntime:
        """Return the runtime of a graph in ONNX Runtime."""
        return cls(stage, partial(start, stage, graph), is_here=is_here, graph=graph)

    @property
    def not_run(self) -> StageResult:
        """The result of one that cannot start."""
        return (
            StageResult(self.stage, FAILED, self.why_not) if self.is_outdated else not_checked(self.stage, self.why_not)
        )


def tuned(bundle: Bundle) -> Iterator[BundleRuntime]:
    """Yield the graph that ``tune`` wrote for ONNX Runtime, if there is one."""
    if (entry := bundle.tuned) is not None:
        yield _tuned(bundle, Stage(ORT_TUNED, bundle.precision), str(entry["file"]), MODEL, entry.get("graph"))


def tuned_for_plans(bundle: Bundle) -> Iterator[BundleRuntime]:
    """Yield the graphs that ``tune`` wrote for TensorRT."""
    for entry in bundle.tuned_graphs:
        stage = Stage(TUNED_GRAPH[entry["flavour"]], entry["precision"])
        yield _tuned(bundle, stage, entry["file"], bundle.graphs.get(stage.precision), entry["graph"])


def _tuned(bundle: Bundle, stage: Stage, file: str, graph: str | None, sha256: str | None) -> BundleRuntime:
    """Return the runtime of a tuned graph, which was made from the ``graph`` of that hash."""
    if graph is None or sha256 != bundle.manifest["files"][graph]["sha256"]:
        return BundleRuntime(stage, None, f"{file} was made from another graph; tune again", is_outdated=True)
    return BundleRuntime.of_graph(stage, bundle.path / file)


def lower(bundle: Bundle) -> Iterator[BundleRuntime]:
    """Yield every graph of a lower precision in ONNX Runtime on the CPU."""
    for precision in bundle.precisions:
        for stage in lower_stages(precision):
            yield BundleRuntime.of_graph(stage, bundle.path / bundle.graphs[precision])


def plans(bundle: Bundle) -> Iterator[BundleRuntime]:
    """Yield every plan."""
    for plan in plans_of(bundle):
        stage = plan_stage(plan.flavour, plan.precision, tuned=plan.tuned)
        if not is_of_its_graph(bundle, plan):
            why = f"{plan.file} was built from another graph; {'tune' if plan.tuned else 'compile'} again"
            yield BundleRuntime(stage, None, why, is_outdated=True, plan=plan)
        elif why := why_not_runnable(plan):
            yield BundleRuntime(stage, None, why, plan=plan)
        else:
            yield BundleRuntime(stage, partial(IsolatedPlan, bundle, plan), plan=plan)


def providers(bundle: Bundle) -> Iterator[BundleRuntime]:
    """Yield every graph in every GPU provider; none without a GPU. One whose libraries do not load says why."""
    if not ask_driver().devices:
        return
    for runtime, name in ON_GPU.items():
        if why := why_no_provider(name) or try_provider(PROVIDERS[name]):
            yield BundleRuntime(Stage(runtime), None, why)
            continue
        for precision, graph in bundle.graphs.items():
            stage = Stage(runtime, precision)
            yield BundleRuntime.of_graph(stage, bundle.path / graph, is_here=True)
