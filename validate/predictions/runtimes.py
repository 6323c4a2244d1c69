"""The runtimes of a bundle whose predictions are compared: every graph on the CPU, the tuned one, plans, providers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from ...core.bundle import Bundle
from ...core.manifest import MODEL
from ...engines.environment import ask_driver, try_provider
from ...engines.tensorrt.here import why_not_runnable
from ...engines.tensorrt.isolated import IsolatedPlan
from ...engines.tensorrt.plans import is_of_its_graph, kernels_name, plans_of
from ...engines.tensorrt.profiles import is_held
from ...engines.timing.runtimes import PROVIDERS, why_no_provider
from ...errors import CheckFailed
from ..stages.ort_process import ON_GPU, start
from ..stages.stage import ORT_TUNED, TUNED_GRAPH, WRITTEN, Stage, given_stages, lower_stages, plan_stage
from .compare import Compared


def reference_stage(bundle: Bundle) -> Stage:
    """Return the stage of the graph that the others are made of: as production runs it, if ONNX Runtime can."""
    return given_stages(WRITTEN, bundle.precision)[-1]


def files_of(bundle: Bundle) -> list[str]:
    """Return the files of a bundle that its runtimes load."""
    plans = [plan.file for plan in plans_of(bundle)]
    wanted = dict.fromkeys(
        [
            *(name for graph in bundle.graph_files for name in (graph, f"{graph}.data")),
            *(name for plan in plans for name in (plan, kernels_name(plan))),
        ]
    )
    return [name for name in wanted if name in bundle.manifest["files"]]


def open_runtimes(bundle: Bundle, sizes: Mapping[str, int], stack: ExitStack) -> list[Compared]:
    """Start every runtime of a bundle but its reference on the CPU; one that cannot run here says why.

    Args:
        bundle: Its files are not changed meanwhile.
        sizes: Those of the axes, at which the images go in.
        stack: Ends the processes.
    """
    tuned = [*_tuned(bundle, stack), *_tuned_for_plans(bundle, stack)]
    found = [*tuned, *_lower(bundle, stack), *_plans(bundle, sizes, stack), *_providers(bundle, stack)]
    for compared in found:
        compared.start()
    return found


def _tuned(bundle: Bundle, stack: ExitStack) -> Iterator[Compared]:
    entry, stage = bundle.tuned, Stage(ORT_TUNED, bundle.precision)
    if entry is None:
        return
    if entry.get("graph") != bundle.manifest["files"][MODEL]["sha256"]:
        why = f"{entry['file']} was made from another graph; tune again"
        yield Compared(stage, None, why, has_failed=True)
        return
    yield Compared(stage, stack.enter_context(start(stage, bundle.path / str(entry["file"]))))


def _tuned_for_plans(bundle: Bundle, stack: ExitStack) -> Iterator[Compared]:
    for entry in bundle.tuned_graphs:
        precision, stage = entry["precision"], Stage(TUNED_GRAPH[entry["flavour"]], entry["precision"])
        graph = bundle.graphs.get(precision)
        if graph is None or entry["graph"] != bundle.manifest["files"][graph]["sha256"]:
            yield Compared(stage, None, f"{entry['file']} was made from another graph; tune again", has_failed=True)
        else:
            runtime = stack.enter_context(start(stage, bundle.path / entry["file"]))
            yield Compared(stage, runtime, io=bundle.io(precision))


def _lower(bundle: Bundle, stack: ExitStack) -> Iterator[Compared]:
    for precision, entry in bundle.precisions.items():
        for stage in lower_stages(precision):
            runtime = stack.enter_context(start(stage, bundle.path / entry["file"]))
            yield Compared(stage, runtime, io=bundle.io(precision))


def _plans(bundle: Bundle, sizes: Mapping[str, int], stack: ExitStack) -> Iterator[Compared]:
    for plan in plans_of(bundle):
        stage = plan_stage(plan.flavour, plan.precision, tuned=plan.tuned)
        if not is_of_its_graph(bundle, plan):
            command = "tune" if plan.tuned else "compile"
            yield Compared(stage, None, f"{plan.file} was built from another graph; {command} again", has_failed=True)
        elif why := why_not_runnable(plan):
            yield Compared(stage, None, why)
        elif not is_held(plan.profiles, sizes):
            at = ", ".join(f"{name}={size}" for name, size in sizes.items())
            yield Compared(stage, None, f"no profile of {plan.file} holds {at}; compile without --profile")
        else:
            try:
                runtime = stack.enter_context(IsolatedPlan(bundle, plan))
                yield Compared(stage, runtime, io=bundle.io(plan.precision))
            except CheckFailed as error:
                yield Compared(stage, None, str(error), has_failed=True)


def _providers(bundle: Bundle, stack: ExitStack) -> Iterator[Compared]:
    if not ask_driver().devices:
        return
    for runtime, name in ON_GPU.items():
        if why := why_no_provider(name) or try_provider(PROVIDERS[name]):
            yield Compared(Stage(runtime), None, why)
            continue
        for precision, graph in bundle.graphs.items():
            stage = Stage(runtime, precision)
            process = stack.enter_context(start(stage, bundle.path / graph))
            yield Compared(stage, process, is_here=True, io=bundle.io(precision))
