"""The models that a benchmark times: target and plain backbone, each as a module, our graph and the plain export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.bundle import Bundle, require_unchanged
from ..core.graph import DEFAULT_OPSET
from ..core.progress import Progress
from ..core.tensor_spec import Axis, TensorSpec
from ..engines.runtime import Arrays
from ..engines.tensorrt.flavours import FLAVOURS
from ..engines.tensorrt.here import why_no_flavour, why_not_runnable
from ..engines.tensorrt.isolated import checked
from ..engines.tensorrt.plans import is_of_its_graph, plans_of
from ..engines.timing.runners import OrtRunner, PlanRunner, Runner, TorchRunner
from ..engines.timing.runtimes import (
    MODULES,
    ORT_CPU,
    ORT_TUNED,
    PLAIN_EXPORT,
    PLANS,
    PROVIDERS,
    PlanRuntime,
    why_no_cuda_torch,
    why_no_provider,
)
from ..errors import Attn2trtError, InputError
from ..modules.dynamic import parse_dynamic, ranges_of
from ..modules.grammar import parse
from ..modules.packages import EXPORT, INSTALL_EXPORT
from ..modules.shapes import Shape
from ..modules.target import Target
from ..validate.agreement import disagreement
from ..validate.recorded import from_tensors
from .options import Weights

if TYPE_CHECKING:
    from torch import nn

    from ..validate.cases import Case
    from ..validate.metrics import Reference

TARGET, BACKBONE = "target", "plain backbone"
Run = Callable[[Arrays], Arrays]


@dataclass
class Variant:
    """One model in all its forms. ``runners`` has for every runtime what a process must load, or why it cannot.

    ``eager`` is the module in this process, for what its outputs should be; None where PyTorch is not here.
    ``recorded`` is a case with its float64 reference, where a bundle holds one.
    """

    model: str
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis]
    runners: dict[str, Runner | str] = field(default_factory=dict)
    eager: Run | None = None
    recorded: tuple[Case, Reference] | None = None


def from_target(
    spec: str,
    folder: Path,
    runtimes: Sequence[str],
    *,
    batches: Sequence[int],
    shapes: Sequence[str],
    dynamic: str | None,
    weights: Weights,
    opset: int = DEFAULT_OPSET,
    backbone: bool = True,
    progress: Progress,
) -> list[Variant]:
    """A TARGET and, where it is a backbone with blocks, the backbone without them; graphs and weights go to ``folder``.

    Raises what ``deploy`` raises for the target itself.
    """
    from ..modules import catalog
    from ..modules.checkpoint import locate
    from ..modules.packages import require

    require()
    progress("resolving the target")
    checkpoint = None if weights.checkpoint is None else locate(weights.checkpoint)  # before the user's code runs
    chosen, ranges = _with_batches(spec, shapes, dynamic, batches)
    target = catalog.resolve(
        spec,
        shapes=chosen,
        dynamic=ranges,
        seed=weights.seed,
        pretrained=weights.pretrained,
        checkpoint=checkpoint,
    )
    check_batches(batches, target.inputs, target.axes)
    progress("building the module")
    module = target.build()
    found = [_variant(TARGET, target, module, None, folder / "target", runtimes, weights.seed, opset, progress)]
    return [*found, *(_backbone(spec, target, folder, runtimes, weights, opset, progress) if backbone else ())]


def from_bundle(
    bundle: Bundle, folder: Path, runtimes: Sequence[str], *, backbone: bool = True, progress: Progress
) -> list[Variant]:
    """Return what a bundle holds and, if PyTorch is here and the bundle says how, what it was made of.

    Raises CheckFailed if a file is not the one that the manifest lists.
    """
    progress("checking hashes")
    require_unchanged(bundle)
    recorded = next(from_tensors(bundle.reference_path, bundle.manifest["cases"][:1]), None)
    why_not = _why_not_built(bundle)
    if not why_not:
        try:
            return _with_built(
                _rebuilt(bundle, recorded, folder, runtimes, backbone, progress), bundle, recorded, runtimes
            )
        except Attn2trtError as error:
            why_not = str(error)
    alone = Variant(TARGET, bundle.inputs, bundle.axes, recorded=recorded)
    alone.runners = {
        name: why_not if name in MODULES or name == PLAIN_EXPORT else _graph_runner(name, bundle.model_path)
        for name in runtimes
    }
    return _with_built([alone], bundle, recorded, runtimes)


def _with_built(
    found: list[Variant], bundle: Bundle, recorded: tuple[Case, Reference] | None, runtimes: Sequence[str]
) -> list[Variant]:
    """The same with what was made of the bundle's graph for one runtime; there is nothing like it of the backbone."""
    if bundle.tuned is not None and ORT_TUNED in runtimes:
        found[0].runners[ORT_TUNED] = OrtRunner(bundle.path / str(bundle.tuned["file"]), PROVIDERS[ORT_TUNED])
    for name in runtimes:
        if name in PLANS:
            found[0].runners[name] = _plan_runner(bundle, recorded, PLANS[name])
    return found


def plan_kinds(bundle: Bundle) -> tuple[tuple[str, str], ...]:
    """The flavours and precisions that the bundle has plans of, each pair once."""
    return tuple(dict.fromkeys((plan.flavour, plan.precision) for plan in plans_of(bundle)))


def _plan_runner(bundle: Bundle, recorded: tuple[Case, Reference] | None, kind: PlanRuntime) -> Runner | str:
    """The bundle's plan that this machine can load and that can be checked, or why there is none."""
    plans = [plan for plan in plans_of(bundle) if (plan.flavour, plan.precision) == (kind.flavour, kind.precision)]
    if not plans:
        return f"no {kind.precision} plan; attn2trt compile --precision {kind.precision} writes one into a bundle"
    reasons = {plan.file: why_not_runnable(plan) for plan in plans}
    usable = next((plan for plan in plans if not reasons[plan.file]), None)
    if usable is None:
        return reasons[plans[-1].file]
    if not is_of_its_graph(bundle, usable):
        return f"{usable.file} was built from another graph; attn2trt compile again"
    if recorded is None or not any(profile.holds(recorded[0].sizes) for profile in usable.profiles):
        return f"{usable.file} holds no case that was recorded; attn2trt compile without --profile"
    return PlanRunner(*checked(bundle, usable), kind.graphed)


def check_batches(batches: Sequence[int], inputs: Sequence[TensorSpec], axes: Mapping[str, Axis]) -> None:
    """Raise InputError for the first batch that a graph with these inputs and ranges does not hold."""
    axis = axes.get("batch")
    sizes = {spec.shape[0] for spec in inputs if spec.shape and isinstance(spec.shape[0], int)}
    for batch in batches:
        if axis is not None and batch not in axis.sizes:
            low, high = min(batch, axis.min), max(batch, axis.max)
            raise InputError(
                f"received batch {batch}; expected one of the range {axis}, which the graph holds for; "
                f"deploy it with --dynamic batch={low}:{axis.opt}:{high}"
            )
        if axis is None and batch not in sizes:
            fixed = ", ".join(map(str, sorted(sizes))) or "none"
            raise InputError(
                f"received batch {batch}; expected {fixed}, the only one that the graph takes; "
                f"deploy it with --dynamic batch"
            )


def _with_batches(
    spec: str, shapes: Sequence[str], dynamic: str | None, batches: Sequence[int]
) -> tuple[Sequence[str], Any]:
    """Shapes and ranges in which the batches fit: the batch itself where there is one, an axis where there are more."""
    from ..modules import catalog

    ranges = dict(parse_dynamic(dynamic))
    if not batches or "batch" in ranges:
        return shapes, dynamic
    plan = catalog.read(spec, shapes=shapes, dynamic=ranges)
    sizes = {name: axis.opt for name, axis in plan.axes.items()}
    images = [item for item in plan.inputs if len(item.shape) == 4] or list(plan.inputs)
    traced = images[0].shape[0]
    # The exporter takes a batch of 1 for a constant.
    optimum = batches[0] if len(batches) == 1 else next(size for size in batches if size > 1)
    written = []
    for item in plan.inputs:
        shape = item.resolve(sizes)
        shape = (optimum, *shape[1:]) if item.shape[:1] == (traced,) else shape
        written.append(_shape_text(item, shape))
    if len(batches) > 1:
        ranges["batch"] = Axis(batches[0], optimum, batches[-1])
    return written, ranges


def _shape_text(spec: TensorSpec, shape: Sequence[int]) -> str:
    return Shape(spec.name, tuple(shape), spec.dtype, spec.low, spec.high, spec.layout).text


def _variant(
    model: str,
    target: Target,
    module: nn.Module,
    graph: Path | None,
    folder: Path,
    runtimes: Sequence[str],
    seed: int,
    opset: int,
    progress: Progress,
) -> Variant:
    """A target with its module; its graph is exported unless there is one."""
    from ..engines.torch_runtime import TorchRuntime, save_weights
    from .float32_graph import export_graph

    folder.mkdir()
    names: Sequence[str] = target.output_names
    axes = target.axes
    if graph is None:
        exported = export_graph(target, module, folder, opset=opset, progress=progress)
        graph, axes = exported.path, exported.axes
        names = [output.name for output in exported.outputs]
    found = Variant(model, target.inputs, axes, eager=TorchRuntime(module, names).run)
    shapes = tuple(_shape_text(spec, spec.resolve(target.sizes())) for spec in target.inputs)
    eager = TorchRunner(target.name, shapes, seed, folder / "weights.pt", tuple(names))
    save_weights(module, eager.weights)
    for name in runtimes:
        if name in MODULES:
            runner = replace(eager, **MODULES[name]._asdict())
            found.runners[name] = (why_no_cuda_torch() if runner.on_gpu else "") or runner
        elif name == PLAIN_EXPORT:
            progress(f"exporting the {model} with torch.onnx.export alone")
            found.runners[name] = _plain_runner(target, module, folder, names)
        else:
            found.runners[name] = _graph_runner(name, graph)
    return found


def _plain_runner(target: Target, module: nn.Module, folder: Path, names: Sequence[str]) -> Runner | str:
    from ..export.trace.plain import export_plainly

    (folder / "plain").mkdir()
    try:
        return OrtRunner(export_plainly(target, module, folder / "plain" / "model.onnx", names), PROVIDERS[ORT_CPU])
    except Attn2trtError as error:
        return str(error)


def _graph_runner(name: str, graph: Path) -> Runner | str:
    if name in PLANS:
        return why_no_flavour(FLAVOURS[PLANS[name].flavour]) or "no plan; attn2trt compile writes one into a bundle"
    if name == ORT_TUNED:
        return "no tuned graph; attn2trt tune writes one into a bundle"
    return why_no_provider(name) or OrtRunner(graph, PROVIDERS[name])


def _backbone(
    spec: str,
    target: Target,
    folder: Path,
    runtimes: Sequence[str],
    weights: Weights,
    opset: int,
    progress: Progress,
) -> list[Variant]:
    """The backbone without its blocks, at the same sizes; its weights are its own, since they cost no time."""
    from ..modules import catalog

    parsed = parse(spec)
    if not parsed.insertions:
        return []
    shapes = [_shape_text(item, item.resolve(target.sizes())) for item in target.inputs]
    ranges = ranges_of(target.inputs, target.axes)
    plain = catalog.resolve(
        parsed.base.without_places,
        shapes=shapes,
        dynamic=ranges,
        seed=weights.seed,
        pretrained=weights.pretrained,
    )
    progress("building the plain backbone")
    wanted = [name for name in runtimes if name not in (PLAIN_EXPORT, ORT_TUNED, *PLANS)]
    module = plain.build()
    return [_variant(BACKBONE, plain, module, None, folder / "backbone", wanted, weights.seed, opset, progress)]


def _why_not_built(bundle: Bundle) -> str:
    """Why the module of a bundle cannot be built here, "" where it can be tried."""
    absent = [package for package in EXPORT.values() if find_spec(package) is None]
    if absent:
        return f"{absent[0]} is not installed here; {INSTALL_EXPORT}"
    arguments = bundle.manifest.get("build")
    if not isinstance(arguments, dict):
        return "the bundle does not say how its module is built; name the TARGET in place of the bundle"
    if arguments.get("checkpoint"):
        return "its weights came from a checkpoint, which a bundle does not hold; name the TARGET with --checkpoint"
    parsed = parse(bundle.name)
    if any(part.is_user_code for part in (parsed.base, *parsed.insertions)):
        return "a bundle's name is not trusted to run code of your own; name the TARGET in place of the bundle"
    return ""


def _rebuilt(
    bundle: Bundle,
    recorded: tuple[Case, Reference] | None,
    folder: Path,
    runtimes: Sequence[str],
    backbone: bool,
    progress: Progress,
) -> list[Variant]:
    """The bundle's graph beside the module built again; raises where that module is another one than was recorded."""
    from ..modules import catalog

    arguments = bundle.manifest["build"]
    seed, pretrained = arguments.get("seed"), arguments.get("pretrained")
    if not isinstance(seed, int) or not isinstance(pretrained, bool):
        raise InputError("the bundle does not say how its module is built; name the TARGET in place of the bundle")
    sizes = {name: axis.opt for name, axis in bundle.axes.items()}
    shapes = [_shape_text(spec, spec.resolve(sizes)) for spec in bundle.inputs]
    ranges = ranges_of(bundle.inputs, bundle.axes)
    resolved = catalog.resolve(bundle.name, shapes=shapes, dynamic=ranges, seed=seed, pretrained=pretrained)
    target = replace(resolved, output_names=tuple(output.name for output in bundle.outputs))
    progress("building the module")
    module = target.build()
    opset = int(bundle.manifest.get("opset", DEFAULT_OPSET))
    found = _variant(TARGET, target, module, bundle.model_path, folder / "target", runtimes, seed, opset, progress)
    found.recorded = recorded
    if recorded is not None and found.eager is not None:
        case, reference = recorded
        if problem := disagreement(found.eager(case.feeds), reference.outputs64):
            raise InputError(
                f"what PyTorch builds here is not what the bundle recorded ({problem}): other weights or versions; "
                "deploy the target again"
            )
    if not backbone:
        return [found]
    weights = Weights(seed=seed, pretrained=pretrained)
    return [found, *_backbone(bundle.name, target, folder, runtimes, weights, opset, progress)]
