"""Builds: our plan of a case and the verdict on it, and the plan of the plain export."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import plain_plans

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.extend import changing, extend
from attn2trt.core.lock import locked
from attn2trt.engines.tensorrt.bandwidth import bytes_per_s
from attn2trt.engines.tensorrt.build import BuildOptions
from attn2trt.engines.tensorrt.device import Device
from attn2trt.engines.tensorrt.here import why_not_runnable
from attn2trt.engines.tensorrt.layers import read_layers, summary
from attn2trt.engines.tensorrt.plans import Plan, layers_name
from attn2trt.validate.recorded import recorded_cases
from attn2trt.validate.stages.stage import LAYERS
from attn2trt.validate.stages.tensorrt import judge_plans
from attn2trt.workflows.compile import compile_bundle

from .exporting import bundle_path
from .work import PROFILE, Case

BUILDS = "builds"


def build_plan(folder: Path, case: Case, precision: str, options: BuildOptions, targets: str | None) -> dict[str, Any]:
    """Build our plan of a case, judge it if this machine can run it, and put it into the case's bundle.

    A bundle is changed by one command at a time: each build works in a copy of its own, whose files are links. Raises
    what ``compile_bundle`` raises.
    """
    path, copy = bundle_path(folder, case), folder / BUILDS / f"{case.name}-{precision}"
    open_bundle(path)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy, copy_function=os.link)
    bundle, plan = compile_bundle(copy, precision=precision, profiles=[PROFILE], options=options, capabilities=targets)
    found = judge_plan(bundle, plan)
    with locked(copy.parent), changing(path) as current:
        _put_plan(current, open_bundle(copy), plan)
    known = {key: value for key, value in plan.to_json().items() if key != "graph"}
    return {"plan": known, "layers": read_summary(copy / layers_name(plan.file)), **found}


def _put_plan(bundle: Bundle, copy: Bundle, plan: Plan) -> None:
    """Have the bundle hold the copy's plan in place of one of the same name."""
    roles = {name: copy.manifest["files"].get(name, {}).get("role") for name in (plan.file, layers_name(plan.file))}
    roles = {name: role for name, role in roles.items() if role is not None}
    others = [entry for entry in bundle.manifest.get("plans", ()) if entry.get("file") != plan.file]
    # not listed while it is another file
    without = extend(
        bundle, {}, {"plans": others}, without=[name for name in roles if name in bundle.manifest["files"]]
    )
    (bundle.path / plan.file).parent.mkdir(exist_ok=True)
    for name in roles:
        (bundle.path / name).unlink(missing_ok=True)
        os.link(copy.path / name, bundle.path / name)
    extend(without, roles, {"plans": [*others, plan.to_json()]})


def judge_plan(bundle: Bundle, plan: Plan) -> dict[str, Any]:
    """Judge one plan of the bundle on the recorded cases.

    ``numerics`` says whether what it computes is right, ``passed`` whether it also computes it in its precision.
    """
    if why := why_not_runnable(plan):
        return {"judged": False, "numerics": False, "passed": False, "why": f"built, not judged: {why}"}
    alone = Bundle(bundle.path, {**bundle.manifest, "plans": [plan.to_json()]})
    judged = judge_plans(alone, partial(recorded_cases, bundle))
    stages = [one for one in judged if (one.stage.runtime, one.stage.precision) == (plan.flavour, plan.precision)]
    wrong = [stage for stage in stages if not stage.has_passed]
    return {
        "judged": True,
        "numerics": bool(stages) and all(stage.stage.kind == LAYERS for stage in wrong),
        "passed": bool(stages) and not wrong,
        "why": "; ".join(f"{stage.label}: {stage.status} {stage.why}" for stage in wrong),
        "worst_ratio": max((stage.worst_ratio for stage in stages), default=0.0),
        "cases": max((stage.case_count for stage in stages), default=0),
    }


def build_plain(folder: Path, case: Case, precision: str, options: BuildOptions) -> dict[str, Any]:
    """Build the plan of a case's plain export. Raises what ``plain_plans.build_plain`` raises."""
    bundle = open_bundle(bundle_path(folder, case))
    plan = plain_plans.build_plain(folder, case.name, bundle, precision, [PROFILE], options)
    return {"plan": plan, "layers": read_summary(plain_plans.layers_path(folder, case.name, precision))}


def measure_copies() -> dict[str, Any]:
    """The bytes that the GPU's memory moves in a second. Raises MissingRequirement without a GPU."""
    with Device() as device:
        return {"bytes_per_s": bytes_per_s(device)}


def read_summary(file: Path) -> dict[str, dict[str, int]]:
    """The inspector's JSON in numbers; empty if there is none, or none that can be read."""
    try:
        return summary(read_layers(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
