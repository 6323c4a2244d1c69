"""A bundle's TensorRT plans, judged as every other runtime is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...core.bundle import Bundle, open_bundle
from ...engines.tensorrt.flavours import RTX, TENSORRT
from ...engines.tensorrt.here import why_not_runnable
from ...engines.tensorrt.isolated import IsolatedPlan, keep_kernels
from ...engines.tensorrt.plans import Plan, is_of_its_graph, plans_of
from ...errors import CheckFailed, MissingRequirement
from ..cases import Case
from ..metamorphic import metamorphic
from ..metrics import FLOAT32, LOWER
from ..verdict import StageResult, judge, not_checked
from .graphs import tensorrt_stage
from .layer_precision import achieved_stage

if TYPE_CHECKING:
    from ..metrics import Reference

Pairs = Iterator[tuple[Case, "Reference"]]


def plan_stages(bundle: Bundle, pairs: Callable[[], Pairs], *, max_error: float | None = None) -> list[StageResult]:
    """For every plan its comparison with the recorded outputs, and the one between the rows of a batch.

    A plan that this machine cannot run is not checked, with the reason; a plan of another graph has failed.
    """
    plans = plans_of(bundle)
    stages: list[StageResult] = []
    for plan in plans:
        if not is_of_its_graph(bundle, plan):
            stages.append(StageResult(plan.stage, "failed", f"{plan.file} was built from another graph; compile again"))
        elif why := why_not_runnable(plan):
            stages.append(not_checked(plan.stage, why))
        else:
            stages += _judged(bundle, plan, pairs, max_error)
            stages.append(achieved_stage(bundle, plan))
    if not any(plan.product is TENSORRT for plan in plans):
        stages.append(tensorrt_stage())
    return stages


def _judged(bundle: Bundle, plan: Plan, pairs: Callable[[], Pairs], max_error: float | None) -> Iterator[StageResult]:
    def inside() -> Pairs:
        return (pair for pair in pairs() if covers(plan, pair[0]))

    try:
        with IsolatedPlan(bundle, plan) as runtime:
            runtime.load()
            precision = LOWER.get(plan.precision, FLOAT32)
            judged = judge(plan.stage, runtime.run, inside(), max_error=max_error, precision=precision)
            if judged.status == "not checked" and not judged.comparisons:
                judged = not_checked(
                    plan.stage, "no recorded case lies inside of its profiles; compile without --profile"
                )
            yield judged
            yield metamorphic(runtime.run, inside(), stage=f"{plan.stage}, rows", precision=precision)
            if plan.product is RTX:
                # read again: another plan's kernels may be in the manifest since
                keep_kernels(open_bundle(bundle.path), plan, runtime.kernel_cache())
    except MissingRequirement as error:
        yield not_checked(plan.stage, str(error))
    except CheckFailed as error:
        yield StageResult(plan.stage, "failed", str(error))


def covers(plan: Plan, case: Case) -> bool:
    """Whether some profile of the plan holds the sizes of a case."""
    return any(profile.holds(case.sizes) for profile in plan.profiles)
