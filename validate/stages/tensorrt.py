"""A bundle's TensorRT plans, judged as every other runtime is, and then by what the inspector says of their layers."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.bundle import Bundle, open_bundle
from ...engines.environment import probe_tensorrt
from ...engines.tensorrt.flavours import RTX, TENSORRT
from ...engines.tensorrt.isolated import IsolatedPlan, keep_kernels, keep_layers
from ...engines.tensorrt.plans import Plan
from ...engines.tensorrt.profiles import is_held
from ...errors import CheckFailed, MissingRequirement
from ..verdict import StageResult, not_checked
from .inside import Inside
from .judge import Pairs, StageJudge, not_loaded
from .layer_precision import check_layers, is_fuller
from .of_bundle import plans
from .stage import Stage

NO_PLAN = "no plan was built; run attn2trt compile BUNDLE, then attn2trt validate BUNDLE"


def judge_plans(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> list[StageResult]:
    """Judge every plan: its outputs, the rows of a batch, and the precision of its layers.

    A plan that this machine cannot run is not checked, with the reason; a plan of another graph has failed.
    """
    stages: list[StageResult] = []
    found = list(plans(bundle))
    for one in found:
        if one.start is None or one.plan is None:
            stages.append(one.not_run)
        else:
            stages += _judged(bundle, one.plan, one.stage, pairs, max_error)
    if not any(one.plan is not None and one.plan.product is TENSORRT for one in found):
        stages.append(without_plan())
    return stages


def _judged(bundle: Bundle, plan: Plan, stage: Stage, pairs: Pairs, max_error: float | None) -> Iterator[StageResult]:
    inside = Inside(pairs, lambda case: is_held(plan.profiles, case.sizes), "its profiles")
    outside = "no recorded case lies inside of its profiles; compile without --profile"
    layers = ""
    try:
        with IsolatedPlan(bundle, plan) as runtime:
            judge = StageJudge(stage, runtime, max_error, without_cases=outside, io=bundle.io(plan.precision))
            yield from map(inside.named, judge.results(inside))
            if judge.load():
                layers = _layers(runtime)
                # read again: another plan's files may be in the manifest since
                if plan.product is RTX:
                    keep_kernels(open_bundle(bundle.path), plan, runtime.kernel_cache())
    except (CheckFailed, MissingRequirement) as error:
        yield not_loaded(stage, error)
    yield check_layers(bundle, plan, layers)
    if is_fuller(bundle, plan, layers):
        keep_layers(open_bundle(bundle.path), plan, layers)


def _layers(runtime: IsolatedPlan) -> str:
    """Return what the inspector says of a plan that has run; "" if it cannot: what it said at first stands then."""
    try:
        return runtime.layers()
    except CheckFailed:
        return ""


def without_plan(why: str = NO_PLAN) -> StageResult:
    """Return the stage of TensorRT if there is no plan of it: not checked, with what is missing here, else ``why``."""
    found = probe_tensorrt()
    if found.status != "usable":
        why = "TensorRT is not installed here" if found.status == "missing" else found.detail
    return not_checked(Stage(TENSORRT.name, ""), why)
