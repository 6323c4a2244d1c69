"""The files of a bundle that a Triton model serves: TensorRT plans, or a graph for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...core.bundle import Bundle
from ...core.file_hashes import tensors
from ...core.precision import FP32, PRECISIONS
from ...errors import InputError
from ..tensorrt.flavours import TENSORRT, sm
from ..tensorrt.plans import Plan, is_measured, is_of_its_graph, plans_of
from ..tensorrt.profiles import Profile

Backend = Literal["tensorrt", "onnxruntime", "python"]
AUTO = "auto"
BACKENDS = (AUTO, "tensorrt", "onnxruntime", "python")
PLAN, GRAPH, PROGRAM = "model.plan", "model.onnx", "model.py"


@dataclass(frozen=True)
class Source:
    """The graph or the plans that one version of a Triton model serves.

    Attributes:
        precision: That of the graph.
        backend: Triton's backend.
        files: The bundle's file by its name in the version's folder.
        main: The name of the file that Triton opens if nothing else says so.
        profiles: The ranges that it takes.
        capabilities: The name of the plan for each compute capability, as ``8.6``; empty without plans.
        tensorrt: The version of TensorRT that loads it; empty without plans.
        version_compatible: Triton must be allowed to load plans of another version of TensorRT.
    """

    precision: str
    backend: Backend
    files: Mapping[str, str]
    main: str
    profiles: tuple[Profile, ...]
    capabilities: Mapping[str, str] = field(default_factory=dict)
    tensorrt: str = ""
    version_compatible: bool = False


def choose_sources(
    bundle: Bundle, *, precisions: Sequence[str] | None = None, backend: str = AUTO, tensorrt: str | None = None
) -> tuple[list[Source], list[str]]:
    """Return the sources by precision, and a line for everything that is left out, with the reason.

    Args:
        bundle: The bundle, whose files are those of its manifest.
        precisions: Those to serve; all of the bundle's if None.
        backend: A Backend for all, or AUTO: the plans of a precision if there are any, else its graph.
        tensorrt: The version of TensorRT whose plans are taken, if the bundle holds plans of several.

    Raises:
        InputError: The bundle has no such precision, nothing is left to serve, or plans of several versions.
    """
    for name in precisions or ():
        if name not in bundle.graphs:
            raise InputError(
                f"received --precision {name}; expected one that the bundle holds: {', '.join(bundle.graphs)}; "
                f"deploy the target with --precision fp32,{name}"
            )
    wanted = list(bundle.graphs) if precisions is None else [*dict.fromkeys(precisions)]
    plans, left_out = _usable_plans(bundle, wanted, tensorrt) if backend in (AUTO, "tensorrt") else ([], [])
    found: list[Source] = []
    for precision in wanted:
        of_it, others = _preferred(bundle, [plan for plan in plans if plan.precision == precision])
        left_out += others
        if of_it:
            found.append(_of_plans(precision, of_it))
        elif why := _why_no_graph(precision, backend):
            left_out.append(f"{precision}: {why}")
        else:
            found.append(_of_graph(bundle, precision, "python" if backend == "python" else "onnxruntime"))
    if not found:
        raise InputError(f"nothing of {bundle.path} is left to serve: {'; '.join(left_out)}")
    return found, left_out


def _why_no_graph(precision: str, backend: str) -> str:
    """Return why the graph of a precision is not served; empty if it is."""
    if backend == "tensorrt":
        return "no plan of TensorRT to serve; attn2trt compile builds one on the machine with the GPU"
    if precision != FP32 and PRECISIONS[precision].graph == "float32":
        return "its graph is the float32 one, which only a plan computes in this precision"
    return ""


def _usable_plans(bundle: Bundle, wanted: Sequence[str], version: str | None) -> tuple[list[Plan], list[str]]:
    """Return the plans that Triton can load, all of one version, and why each other one is left out."""
    found, left_out = [], []
    for plan in plans_of(bundle):
        if plan.precision not in wanted:
            continue
        if plan.product is not TENSORRT:
            left_out.append(f"{plan.file}: plans of {plan.product.title} are loaded by {plan.product.loaded_by}")
        elif not is_of_its_graph(bundle, plan):
            command = "tune" if plan.tuned else "compile"
            left_out.append(f"{plan.file}: built from another graph than the bundle's; {command} again")
        elif version is not None and plan.tensorrt != version:
            left_out.append(f"{plan.file}: built by TensorRT {plan.tensorrt}, not {version}")
        else:
            found.append(plan)
    versions = sorted({plan.tensorrt for plan in found})
    if len(versions) > 1:
        raise InputError(
            f"the bundle holds plans of TensorRT {', '.join(versions)}, and a Triton has one of them; "
            f"name it with --tensorrt {versions[-1]}"
        )
    return found, left_out


def _preferred(bundle: Bundle, plans: Sequence[Plan]) -> tuple[list[Plan], list[str]]:
    """Return one plan for each set of GPUs, and why each other one is left out.

    A tuned plan is taken in place of the other only if it is the one that was measured to be faster, and serves the
    same ranges as a plan that was built alike.
    """
    found: dict[tuple[str, ...], Plan] = {}
    left_out = []
    for plan in sorted(plans, key=lambda plan: plan.tuned):
        other = found.get(plan.capabilities)
        why = _why_not_tuned(bundle, plan, other) if other is not None and plan.tuned else ""
        if why:
            left_out.append(f"{plan.file}: {why}")
            continue
        if other is not None and plan.tuned:
            left_out.append(f"{other.file}: {plan.file}, of the tuned graph, was measured to be faster")
        found[plan.capabilities] = plan
    return list(found.values()), left_out


def _why_not_tuned(bundle: Bundle, plan: Plan, other: Plan) -> str:
    """Return why a tuned plan is not taken in place of another one; empty if it is."""
    if [*map(str, other.profiles)] != [*map(str, plan.profiles)]:
        return f"it has other profiles than {other.file}; tune with the same ranges"
    if not is_measured(bundle, plan):
        return f"nobody has measured whether it is faster than {other.file}; tune again"
    if dict(plan.flags) != dict(other.flags):
        return f"it was measured beside a plan of other settings than {other.file}; tune with the same ones"
    return ""


def _of_plans(precision: str, plans: Sequence[Plan]) -> Source:
    """Return the source of plans of one precision, one for each GPU.

    The one for every GPU from Ampere on, or a single one, is the file that Triton takes on any other GPU.
    """
    portable = [plan for plan in plans if plan.flags.get("hardware_compatible")]
    default = portable[0] if portable else plans[0] if len(plans) == 1 else None
    names = {plan.file: PLAN if plan is default else f"{'+'.join(map(sm, plan.capabilities))}.plan" for plan in plans}
    capabilities = {name: names[plan.file] for plan in plans for name in plan.capabilities}
    return Source(
        precision=precision,
        backend="tensorrt",
        files={name: file for file, name in names.items()},
        main=names[(default or plans[0]).file],
        profiles=_common(plans),
        capabilities=capabilities,
        tensorrt=plans[0].tensorrt,
        version_compatible=any(bool(plan.flags.get("version_compatible")) for plan in plans),
    )


def _common(plans: Sequence[Plan]) -> tuple[Profile, ...]:
    """Return the profiles of the plans. Raises InputError if they are not the same in all of them."""
    first = plans[0].profiles
    for plan in plans[1:]:
        if [str(profile) for profile in plan.profiles] != [str(profile) for profile in first]:
            raise InputError(
                f"{plan.file} and {plans[0].file} have other profiles, and one configuration serves both; "
                "compile them with the same --profile"
            )
    return first


def _of_graph(bundle: Bundle, precision: str, backend: Backend) -> Source:
    graph = bundle.graphs[precision]
    files = {GRAPH: graph, **{name: name for name in weights_beside(bundle, graph)}}
    return Source(precision, backend, files, GRAPH, (Profile(dict(bundle.axes)),))


def weights_beside(bundle: Bundle, graph: str) -> list[str]:
    """Return the files beside a graph that hold weights of it."""
    import onnx

    model = onnx.load(str(bundle.path / graph), load_external_data=False)
    entries = (entry for tensor in tensors(model) for entry in tensor.external_data)
    return sorted({entry.value for entry in entries if entry.key == "location"})


def hashes(bundle: Bundle, source: Source) -> dict[str, str]:
    """Return the SHA-256 of each file in the version's folder, as the bundle's manifest has it."""
    return {name: str(bundle.manifest["files"][file]["sha256"]) for name, file in source.files.items()}
