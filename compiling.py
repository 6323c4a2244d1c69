"""What ``compile`` does: a bundle's graph built into a TensorRT plan on this machine, and the plan made part of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from .engines.environment import probe_tensorrt
from .engines.tensorrt.build import Options, Order
from .engines.tensorrt.isolated import build_isolated
from .engines.tensorrt.plans import FOLDER, Plan, file_name
from .engines.tensorrt.profiles import parse_profiles
from .engines.tensorrt.versions import parse_version
from .errors import MissingRequirement
from .export.bundle import MODEL, Bundle, open_bundle, require_unchanged
from .export.extend import extend

PRECISION = "fp32"
CACHE = "timing.cache"


def compile_bundle(
    path: Path | str,
    *,
    profiles: Sequence[str] = (),
    options: Options | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Bundle, Plan]:
    """Build the float32 plan for this machine's GPU; returns the bundle that holds it, and what is known of it.

    ``profiles`` are texts as ``batch=1:1:1``, the bundle's ranges where there is none. A plan for the same GPU and
    TensorRT is replaced. Raises InputError for profiles outside of the bundle's ranges, MissingRequirement where this
    machine has no GPU or no TensorRT, CheckFailed where a file of the bundle has changed or TensorRT refuses the graph.
    """
    told = progress if progress is not None else lambda _text: None
    bundle = open_bundle(path)
    chosen = tuple(parse_profiles(profiles, bundle.axes))
    told("checking hashes")
    require_unchanged(bundle)
    found = probe_tensorrt()
    if found.status != "usable":
        why = f"{found.status} ({found.detail})" if found.detail else found.status
        raise MissingRequirement(f"TensorRT is {why}, and a plan is built on the machine that runs it; {found.fix}")
    folder = (bundle.path / FOLDER).resolve()
    folder.mkdir(exist_ok=True)
    work = folder / f".partial-{os.getpid()}"
    work.mkdir()
    try:
        order = Order(
            graph=bundle.model_path.resolve(),
            plan=work / "plan",
            log=work / "log",
            cache=folder / CACHE,
            inputs=bundle.inputs,
            profiles=chosen,
            modules=bundle.manifest.get("modules", {}),
            options=options or Options(),
        )
        told(f"building the {PRECISION} plan; TensorRT times its kernels, which takes minutes")
        try:
            built = build_isolated(order)
        finally:
            if order.log.exists():
                order.log.replace(folder / f"{PRECISION}.log")
        name = file_name(built["capability"], parse_version(built["tensorrt"]), PRECISION)
        order.plan.replace(bundle.path / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    plan = Plan(
        file=name,
        precision=PRECISION,
        graph=str(bundle.manifest["files"][MODEL]["sha256"]),
        profiles=chosen,
        flags={key: value for key, value in vars(order.options).items() if value},
        **built,
    )
    others = [entry for entry in bundle.manifest.get("plans", ()) if entry.get("file") != name]
    role = f"TensorRT {plan.tensorrt} plan, {PRECISION}, {plan.gpu}"
    return extend(bundle, {name: role}, {"plans": [*others, plan.to_json()]}), plan
