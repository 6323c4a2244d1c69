"""The runtimes of a bundle whose predictions are compared: every graph on the CPU, the tuned one, plans, providers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from ...core.bundle import Bundle
from ...engines.tensorrt.plans import kernels_name, plans_of
from ...engines.tensorrt.profiles import is_held
from ...errors import CheckFailed
from ..stages.of_bundle import BundleRuntime, lower, plans, providers, tuned, tuned_for_plans
from ..stages.stage import WRITTEN, Stage, given_stages
from .compare import Compared


def reference_stage(bundle: Bundle) -> Stage:
    """Return the stage of the graph that the others are made of: as production runs it, if ONNX Runtime can."""
    return given_stages(WRITTEN, bundle.precision)[-1]


def files_of(bundle: Bundle) -> list[str]:
    """Return the files of a bundle that its runtimes load."""
    files = [plan.file for plan in plans_of(bundle)]
    wanted = dict.fromkeys(
        [
            *(name for graph in bundle.graph_files for name in (graph, f"{graph}.data")),
            *(name for plan in files for name in (plan, kernels_name(plan))),
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
    runtimes = (*tuned(bundle), *tuned_for_plans(bundle), *lower(bundle), *plans(bundle), *providers(bundle))
    found = [_opened(bundle, one, sizes, stack) for one in runtimes]
    for compared in found:
        compared.start()
    return found


def _opened(bundle: Bundle, one: BundleRuntime, sizes: Mapping[str, int], stack: ExitStack) -> Compared:
    if one.start is None:
        return Compared(one.stage, None, one.why_not, has_failed=one.is_outdated)
    if one.plan is not None and not is_held(one.plan.profiles, sizes):
        at = ", ".join(f"{name}={size}" for name, size in sizes.items())
        return Compared(one.stage, None, f"no profile of {one.plan.file} holds {at}; compile without --profile")
    try:
        runtime = one.start()
    except CheckFailed as error:
        return Compared(one.stage, None, str(error), has_failed=True)
    stack.enter_context(runtime)
    return Compared(one.stage, runtime, is_here=one.is_here, io=bundle.io(one.stage.precision))
