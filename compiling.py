"""What ``compile`` does: a bundle's graph built into a TensorRT plan on this machine, and the plan made part of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from .engines.environment import probe_tensorrt
from .engines.tensorrt.build import Options, Order
from .engines.tensorrt.isolated import build_isolated
from .engines.tensorrt.plans import FOLDER, Plan, file_name, layers_name
from .engines.tensorrt.profiles import parse_profiles
from .engines.tensorrt.versions import parse_version
from .errors import InputError, MissingRequirement
from .export.bundle import Bundle, open_bundle, require_unchanged
from .export.extend import extend
from .export.precision import FP32

CACHE = "timing.cache"


def compile_bundle(
    path: Path | str,
    *,
    precision: str = FP32,
    profiles: Sequence[str] = (),
    options: Options | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Bundle, Plan]:
    """Build a plan for this machine's GPU; returns the bundle that holds it, and what is known of it.

    ``precision`` names the graph of the bundle that it is built from. ``profiles`` are texts as ``batch=1:1:1``, the
    bundle's ranges where there is none. A plan of this precision for the same GPU and TensorRT is replaced. Raises
    InputError for a precision that the bundle does not hold or that this TensorRT does not read, and for profiles
    outside of the bundle's ranges, MissingRequirement where this machine has no GPU or no TensorRT, CheckFailed where a
    file of the bundle has changed or TensorRT refuses the graph.
    """
    told = progress if progress is not None else lambda _text: None
    bundle = open_bundle(path)
    graph = _graph(bundle, precision)
    chosen = tuple(parse_profiles(profiles, bundle.axes))
    told("checking hashes")
    require_unchanged(bundle)
    found = probe_tensorrt()
    if found.status != "usable":
        why = f"{found.status} ({found.detail})" if found.detail else found.status
        raise MissingRequirement(f"TensorRT is {why}, and a plan is built on the machine that runs it; {found.fix}")
    _require_readable(bundle, precision, found.version)
    folder = (bundle.path / FOLDER).resolve()
    folder.mkdir(exist_ok=True)
    work = folder / f".partial-{os.getpid()}"
    work.mkdir()
    try:
        order = Order(
            graph=(bundle.path / graph).resolve(),
            plan=work / "plan",
            log=work / "log",
            cache=folder / CACHE,
            layers=work / "layers",
            inputs=bundle.inputs,
            profiles=chosen,
            modules=bundle.node_modules(precision),
            options=options or Options(),
            precision=precision,
        )
        told(f"building the {precision} plan; TensorRT times its kernels, which takes minutes")
        try:
            built = build_isolated(order)
        finally:
            if order.log.exists():
                order.log.replace(folder / f"{precision}.log")
        name = file_name(built["capability"], parse_version(built["tensorrt"]), precision)
        order.plan.replace(bundle.path / name)
        order.layers.replace(bundle.path / layers_name(name))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    plan = Plan(
        file=name,
        precision=precision,
        graph=str(bundle.manifest["files"][graph]["sha256"]),
        profiles=chosen,
        flags={key: value for key, value in vars(order.options).items() if value},
        **built,
    )
    others = [entry for entry in bundle.manifest.get("plans", ()) if entry.get("file") != name]
    role = f"TensorRT {plan.tensorrt} plan, {precision}, {plan.gpu}"
    files = {name: role, layers_name(name): f"what TensorRT's inspector says of {name}"}
    return extend(bundle, files, {"plans": [*others, plan.to_json()]}), plan


def _graph(bundle: Bundle, precision: str) -> str:
    """The file of the graph of this precision."""
    if precision not in bundle.graphs:
        raise InputError(
            f"received --precision {precision}; expected one that the bundle holds: {', '.join(bundle.graphs)}; "
            f"deploy the target with --precision fp32,{precision}"
        )
    return bundle.graphs[precision]


def _require_readable(bundle: Bundle, precision: str, version: str) -> None:
    oldest = bundle.manifest.get("precisions", {}).get(precision, {}).get("oldest_tensorrt")
    if oldest is not None and parse_version(version) < parse_version(oldest):
        raise InputError(
            f"received --precision {precision}, whose graph TensorRT reads from {oldest} on; here is {version}; "
            "choose another precision, or a machine with a newer TensorRT"
        )
