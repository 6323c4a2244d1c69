"""Build a TensorRT plan from a bundle's graph, and make it part of the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..core.arguments import checked
from ..core.bundle import Bundle, Folder, open_bundle
from ..core.extend import changing, first_name
from ..core.file_hashes import require_unchanged
from ..core.precision import FP32, on_levels_of
from ..core.progress import Progress, silent
from ..engines.environment import ask_driver, probe_rtx, probe_tensorrt
from ..engines.tensorrt.build import BuildOptions
from ..engines.tensorrt.flavours import FLAVOURS, RTX, TENSORRT, Flavour
from ..engines.tensorrt.plan_build import CACHE, PlanBuild, PlanRequest
from ..engines.tensorrt.plans import Plan
from ..engines.tensorrt.profiles import parse_profiles
from ..engines.tensorrt.targets import DEFAULT, name_targets, parse_targets, split_targets
from ..engines.tensorrt.versions import parse_version
from ..errors import InputError, MissingRequirement
from .report import extend_and_report


class CompiledBundle(NamedTuple):
    """A bundle, and the plan that was built into it."""

    bundle: Bundle
    plan: Plan


@checked
def compile_bundle(
    bundle: Folder,
    *,
    precision: str = FP32,
    profiles: Sequence[str] = (),
    options: BuildOptions | None = None,
    capabilities: str | None = None,
    tuned: bool = False,
    progress: Progress | None = None,
) -> CompiledBundle:
    """Build a plan from a graph of the bundle, for this machine's GPU or for other ``capabilities``.

    A plan of this precision for the same GPUs and TensorRT is replaced. Killed at any moment, the bundle is whole.

    Args:
        bundle: The bundle, or its folder.
        precision: The graph of the bundle that the plan is built from.
        profiles: Ranges as ``batch=1:1:1``; the bundle's own if there is none.
        options: What the builder is given.
        capabilities: Those to build for, ``"sm86,sm120"``, with TensorRT for RTX, which needs no GPU for that. None
            builds for this machine's GPU, with TensorRT if it is installed, else with TensorRT for RTX.
        tuned: Build from the graph that ``tune`` wrote for the TensorRT that builds.
        progress: Called with a line for every step.

    Returns:
        The bundle with the plan in it, and the plan.

    Raises:
        InputError: The bundle has no graph of the precision, or no tuned one, a profile leaves the bundle's ranges, no
            such TensorRT builds for a target or reads the graph, or an option is not for it.
        MissingRequirement: There is no GPU and no target, or no TensorRT.
        CheckFailed: A file of the bundle has changed, or TensorRT refuses the graph.
        StorageError: Another command changes the bundle now.
    """
    report = progress or silent
    with changing(bundle) as opened:
        request = _request(opened, precision, profiles, options or BuildOptions(), capabilities, tuned, report)
        return _built(opened, request, report)


def require_compilable(
    bundle: Folder,
    precisions: Sequence[str],
    *,
    profiles: Sequence[str] = (),
    options: BuildOptions | None = None,
    capabilities: str | None = None,
    tuned: bool = False,
) -> None:
    """Raise what ``compile_bundle`` would before it builds, for the first of several precisions: none is built then."""
    opened = open_bundle(bundle)
    for precision in precisions:
        _request(opened, precision, profiles, options or BuildOptions(), capabilities, tuned, silent)


def _request(
    bundle: Bundle,
    precision: str,
    profiles: Sequence[str],
    options: BuildOptions,
    capabilities: str | None,
    tuned: bool,
    report: Progress,
) -> PlanRequest:
    """Return what is to be built, checked; raises what ``compile_bundle`` raises before it builds."""
    graph, modules = require_graph(bundle, precision), bundle.node_modules(precision)
    ranges = tuple(parse_profiles(profiles, bundle.axes))
    report("checking hashes")
    require_unchanged(bundle)
    _require_possible(bundle, precision, options, capabilities, tuned=tuned)
    flavour, targets = _choose(capabilities, precision)
    options.require_for(flavour)
    if tuned:
        graph, modules = _tuned_graph(bundle, flavour, precision)
    if flavour is TENSORRT:
        require_readable(bundle, precision, probe_tensorrt().version)
    return PlanRequest(
        folder=bundle.path,
        graph=graph,
        precision=precision,
        inputs=bundle.inputs_of(precision),
        profiles=ranges,
        modules=modules,
        flavour=flavour,
        targets=targets,
        options=options,
        known_cache=known_cache(bundle, report) if flavour is TENSORRT else None,
        tuned=tuned,
    )


def _built(bundle: Bundle, request: PlanRequest, report: Progress) -> CompiledBundle:
    """Build the plan, and list it in the manifest in place of an earlier one of its name."""
    flavour = request.flavour
    minutes = "; it times its kernels, which takes minutes" if flavour is TENSORRT else ""
    report(f"building the {request.precision} plan with {flavour.title}{minutes}")
    with PlanBuild(request) as building:
        plan, files = building.result(taken=bundle.manifest["files"])
    earlier = first_name(plan.file)
    others = [entry for entry in bundle.manifest.get("plans", ()) if first_name(str(entry.get("file"))) != earlier]
    plans = {"plans": [*others, plan.to_json()]}
    return CompiledBundle(extend_and_report(bundle, files, plans, note=report), plan)


def _require_possible(
    bundle: Bundle, precision: str, options: BuildOptions, capabilities: str | None, *, tuned: bool
) -> None:
    """Raise InputError for what no TensorRT can do, before one is required that this machine may lack."""
    builders = tuple(FLAVOURS.values()) if capabilities is None else (RTX,)
    if len(builders) == 1:
        options.require_for(builders[0])
    if tuned and not any(bundle.tuned_graph(one.name, precision) for one in builders):
        _tuned_graph(bundle, builders[0], precision)


def _tuned_graph(bundle: Bundle, flavour: Flavour, precision: str) -> tuple[str, Mapping[str, str]]:
    """Return the file of the graph that ``tune`` wrote, and the module of each node. Raises InputError without one."""
    entry = bundle.tuned_graph(flavour.name, precision)
    if entry is None:
        raise InputError(
            f"received --tuned with --precision {precision}; {bundle.path} has no graph of it that was tuned for "
            f"{flavour.title}; attn2trt tune --runtime {flavour.name} writes one, if it is faster"
        )
    return entry["file"], entry["modules"]


def known_cache(bundle: Bundle, report: Progress) -> tuple[str, str] | None:
    """Return the file with kernels that TensorRT timed for this bundle before, and its hash; None if none is listed.

    A file that the manifest does not list is not read: whoever wrote it would choose the kernels.
    """
    files = bundle.manifest["files"]
    name = next((name for name in files if first_name(name) == CACHE), None)
    if name is not None:
        return name, str(files[name]["sha256"])
    if (bundle.path / CACHE).exists():
        report(f"{CACHE} is not listed in the manifest and is not read: all kernels are timed")
    return None


def _choose(named: str | None, precision: str) -> tuple[Flavour, tuple[str, ...]]:
    """Return the TensorRT that builds, and the capabilities that it builds for; none of them for the GPU at hand.

    Raises MissingRequirement if there is neither, and InputError for a target that cannot be built for.
    """
    if named is not None:
        return RTX, _named_targets(named, precision)
    found = probe_tensorrt()
    if found.status == "usable":
        return TENSORRT, ()
    capability = ask_driver().capability
    if capability in RTX.targets and probe_rtx().status == "usable":
        return RTX, (capability,)
    why = f"{found.status} ({found.detail})" if found.detail else found.status
    raise MissingRequirement(
        f"TensorRT is {why}, and builds on the machine that runs the plan; {found.fix}, or name GPUs with "
        f"--for {DEFAULT}, which TensorRT for RTX builds for without one"
    )


def _named_targets(text: str, precision: str) -> tuple[str, ...]:
    """Return the named compute capabilities. Raises InputError for one that does not compute in the precision."""
    capabilities = parse_targets(text, RTX)
    able, unable = split_targets(capabilities, precision)
    if not capabilities:
        raise InputError(f"received --for {text}, so that nothing is built; expected some of {DEFAULT}; name one")
    if unable:
        able_here = f"--for {name_targets(able).replace(' ', '')}" if able else "another --precision"
        raise InputError(
            f"received --for {text} with --precision {precision}; {name_targets(unable)} "
            f"{'computes' if len(unable) == 1 else 'compute'} no {precision}; give {able_here}"
        )
    found = probe_rtx()
    if found.status != "usable":
        raise MissingRequirement(f"TensorRT for RTX is {found.status} ({found.detail}); {found.fix}")
    return capabilities


def require_graph(bundle: Bundle, precision: str) -> str:
    """Return the file of the graph of this precision. Raises InputError if the bundle has none."""
    if precision not in bundle.graphs:
        advice = f"deploy the target with --precision {bundle.precision},{precision}"
        if bundle.precision != FP32 and precision not in on_levels_of(bundle.precision):
            # nothing else is made of what is in another precision already
            advice = f"give --precision {bundle.precision}"
        raise InputError(
            f"received --precision {precision}; expected one that the bundle holds: {', '.join(bundle.graphs)}; "
            f"{advice}"
        )
    return bundle.graphs[precision]


def require_readable(bundle: Bundle, precision: str, version: str) -> None:
    """Raise InputError if this version of TensorRT does not read the graph of the precision."""
    entry = bundle.precisions.get(precision)
    oldest = None if entry is None else entry["oldest_tensorrt"]
    if oldest is not None and parse_version(version) < parse_version(oldest):
        raise InputError(
            f"received --precision {precision}, whose graph TensorRT reads from {oldest} on; here is {version}; "
            "choose another precision, or a machine with a newer TensorRT"
        )
