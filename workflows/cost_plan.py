"""``cost`` on a GPU: what a bundle's plan takes on the device, layer by layer, beside what its bytes must take.

A bundle is what a machine with TensorRT has: no PyTorch is needed. What a block costs its backbone needs a second one,
of the plain backbone, whose plan is timed in turn with the first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ..core.arguments import checked
from ..core.bundle import Bundle, Folder, open_bundle
from ..core.command_line import quoted
from ..core.precision import FP32, PRECISIONS
from ..core.progress import Progress, silent
from ..core.scratch import scratch
from ..engines.tensorrt.device import NO_DEVICE
from ..engines.tensorrt.flavours import FLAVOURS, TENSORRT, Flavour
from ..engines.tensorrt.here import why_no_flavour, why_not_runnable
from ..engines.tensorrt.plans import Plan, is_of_its_graph, plans_of
from ..engines.timing.device_costs import PLAIN, DeviceCost
from ..engines.timing.method import Method
from ..errors import InputError, MissingRequirement
from ..modules.grammar import parse
from .plan_bench import METHOD, MODEL, PlanBench, hold
from .plan_sizes import require_same_inputs, sizes_at


@checked
def cost_plan(
    bundle: Folder,
    *,
    precision: str = FP32,
    backbone: Folder | None = None,
    shapes: Sequence[str] = (),
    flavour: str = TENSORRT.name,
    tuned: bool = False,
    method: Method | None = None,
    progress: Progress | None = None,
) -> DeviceCost:
    """Time a bundle's plan on the GPU, as a CUDA graph and layer by layer, beside its bytes over bandwidth.

    Args:
        bundle: The folder of a bundle with a plan for this GPU.
        precision: That of the plan.
        backbone: The folder of the plain backbone's bundle, with a plan of the same precision.
        shapes: The sizes of the inputs, as ``32x256x56x56``; by default the optimum of the plan's first profile.
        flavour: The TensorRT that the plan is of.
        tuned: Time the plan of the graph that ``tune`` wrote; of the plain backbone, too, if it has one.
        method: The rules of the clock.
        progress: Called with a line for every step.

    Returns:
        The latency and its limit, every layer, every block and, beside the plain backbone, the difference.

    Raises:
        InputError: An argument is wrong, or a bundle has no such plan.
        MissingRequirement: This machine has no GPU or no such TensorRT.
        CheckFailed: A file is not the one that its manifest lists, or a plan breaks or computes something else than was
            recorded.
        StorageError: A bundle is replaced while it is copied.
    """
    if precision not in PRECISIONS:
        raise InputError(f"received precision {precision!r}; expected one of {', '.join(PRECISIONS)}; correct it")
    if flavour not in FLAVOURS:
        raise InputError(f"received runtime {flavour!r}; expected one of {', '.join(FLAVOURS)}; correct it")
    opened = {MODEL: open_bundle(bundle)} | ({} if backbone is None else {PLAIN: open_bundle(backbone)})
    if PLAIN in opened:
        _require_backbone(opened[MODEL], opened[PLAIN])
    found = {name: _plans(one, FLAVOURS[flavour], precision, name, tuned=tuned) for name, one in opened.items()}
    if why := why_no_flavour(FLAVOURS[flavour]):
        raise MissingRequirement(f"{why}; {NO_DEVICE}")
    plans = {name: _runnable(opened[name], of_bundle) for name, of_bundle in found.items()}
    sizes = _sizes(opened, plans, shapes)
    with scratch("cost") as folder:
        (progress or silent)("checking hashes")
        models = {name: hold(opened[name], plan, sizes, folder / name.split()[0]) for name, plan in plans.items()}
        return PlanBench(models, method or METHOD, progress or silent).cost(os.fspath(bundle))


def _require_backbone(model: Bundle, plain: Bundle) -> None:
    """Raise InputError unless ``plain`` is the backbone of ``model`` without its blocks, as far as names say it."""
    try:
        whole, base = parse(model.name), parse(plain.name)
    except InputError:
        return  # a model that no target names
    if base.insertions or base.base != whole.base or not whole.insertions:
        expected = whole.base.without_places if whole.insertions else "none, since it has no block"
        raise InputError(
            f"received --backbone {plain.path}, a bundle of {plain.name}, for {model.name}; expected {expected}; "
            "give the plain backbone's bundle, or leave --backbone out"
        )


def _plans(bundle: Bundle, flavour: Flavour, precision: str, name: str, *, tuned: bool) -> list[Plan]:
    """Return the bundle's plans that may be timed. Raises InputError if there is none."""
    plans = plans_of(bundle)
    of_precision = [plan for plan in plans if (plan.product, plan.precision) == (flavour, precision)]
    found = [plan for plan in of_precision if plan.tuned == tuned]
    if found or (name == PLAIN and of_precision):
        return found or of_precision
    wanted = f"{flavour.title} in {precision}{', tuned' * tuned}"
    each = dict.fromkeys(f"{plan.product.title} in {plan.precision}{', tuned' * plan.tuned}" for plan in plans)
    raise InputError(
        f"received {bundle.path}, whose plans are: {' and '.join(each) or 'none'}; expected one of {wanted}; "
        f"{_fix(bundle, flavour, precision, tuned=tuned)}"
    )


def _fix(bundle: Bundle, flavour: Flavour, precision: str, *, tuned: bool) -> str:
    """Return the command that puts such a plan into a bundle."""
    if precision not in bundle.graphs:
        return f"run attn2trt deploy with --precision fp32,{precision}, then attn2trt compile"
    if tuned:
        return f"run attn2trt tune {quoted(bundle.path)} --runtime {flavour.name} --precision {precision}"
    target = " with --for and this GPU, as sm89" if flavour.targets else ""
    return f"run attn2trt compile {quoted(bundle.path)} --precision {precision}{target}"


def _runnable(bundle: Bundle, plans: Sequence[Plan]) -> Plan:
    """Return the first of the plans that this machine can run. Raises InputError if there is none."""
    reasons = {plan.file: why_not_runnable(plan) for plan in plans}
    usable = next((plan for plan in plans if not reasons[plan.file]), None)
    if usable is None:
        raise InputError(f"received {bundle.path}; {reasons[plans[-1].file]}")
    if not is_of_its_graph(bundle, usable):
        raise InputError(
            f"received {bundle.path}, whose {usable.file} was built from another graph; expected one of the graph that "
            f"it holds now; run attn2trt {'tune' if usable.tuned else 'compile'} again"
        )
    return usable


def _sizes(opened: Mapping[str, Bundle], plans: Mapping[str, Plan], shapes: Sequence[str]) -> dict[str, int]:
    """Return the sizes of the axes that are timed. Raises InputError if a plan does not hold them."""
    sizes = sizes_at(opened[MODEL], plans[MODEL], shapes)
    if PLAIN in opened:
        require_same_inputs(opened[MODEL], opened[PLAIN], plans[PLAIN], sizes)
    return sizes
