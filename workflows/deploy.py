"""Make a bundle of a target: export, lower, judge every stage, build plans."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.bundle import MANIFEST, MODEL, REFERENCE, Bundle, axis_to_json, open_bundle, sha256, spec_to_json, verify
from ..core.bundle_writer import BundleWriter, recover
from ..core.destination import check_destination
from ..core.graph import DEFAULT_OPSET, OPSETS, WEIGHTS, OnnxGraph
from ..core.precision import FP32
from ..core.progress import Progress, StageTimes
from ..engines.tensorrt.flavours import RTX
from ..engines.tensorrt.targets import DEFAULT as DEFAULT_CAPABILITIES
from ..engines.tensorrt.targets import parse_targets
from ..errors import CheckFailed, InputError, ModuleRefused, SizesRefused
from ..export.contract import check_contract
from ..export.handover import SCRIPT, inference_script, trtexec_line
from ..export.precision import LowGraph
from ..export.simplify import Simplifier
from ..modules.packages import require
from ..modules.target import Target, file_name
from ..validate.cases import Case, make_cases
from ..validate.hidden import Hidden
from ..validate.images import images_in
from ..validate.recorded import from_tensors, to_tensors
from ..validate.stages.build import BuildStages
from ..validate.stages.graphs import NoStages, Stages
from ..validate.verdict import Verdict
from .precision import Candidates, Lowering, LowWriter, Named, entries_of, files_of, floor_of
from .sensitivity import name_lossy

if TYPE_CHECKING:
    from torch import nn

    from ..validate.losses import Losses
    from ..validate.metrics import Reference

DEFAULT_FOLDER = Path("bundles")
EXPORTED = "exported.onnx"
EXPORT_ADVICE = "try another --opset, or deploy parts of the module to find the one that breaks it"


def deploy(
    target: str | Target | nn.Module,
    example_inputs: Any = None,
    *,
    dynamic: Any = None,
    out: Path | str | None = None,
    opset: int = DEFAULT_OPSET,
    precision: str | Sequence[str] = "fp32",
    keep_fp32: Sequence[str] = (),
    calibrate: Path | None = None,
    calibration: str | None = None,
    force: bool = False,
    verdict: bool = True,
    progress: Progress | None = None,
    max_error: float | None = None,
    inputs: Path | None = None,
    shapes: Sequence[str] = (),
    layout: str | Mapping[str, str] | None = None,
    seed: int = 0,
    pretrained: bool = False,
    checkpoint: Path | str | None = None,
    allow_float32_truth: bool = False,
    capabilities: str = DEFAULT_CAPABILITIES,
) -> Bundle:
    """Export a target to a bundle, judge every stage against PyTorch in float64, and return the bundle.

    ``target`` is a name of the catalog (``"resnet50+cbam"``) or a module with its ``example_inputs`` (a tensor, a
    tuple, or a dict by the names of ``forward``'s arguments) or its ``shapes`` (``["size=2:float32[1,9]"]``). It is
    left as it is. ``dynamic`` gives ranges as min:opt:max, as text (``"batch=1:2:8"``)
    or as a dict of triples; a fourth number is what every size is a multiple of, and an expression of other axes
    (``"mask.dim1=x.dim0"``) ties an axis to them. Unless it names the batch, that is 1:2:8, or fixed if the module
    refuses that; ``"none"`` keeps every traced size. ``layout="nhwc"``, or a dict by input, says that the channels of
    images are last. ``out`` defaults to ``bundles/<name>``. A bundle that is there
    already, unchanged and made of the same inputs, is returned as it is unless ``force``. ``precision``, text
    (``"fp32,fp16"``) or a sequence, judges lower precisions as well, and adds a graph for each that needs one: tf32,
    fp16, bf16, int8, fp8; ``"auto"`` chooses the fewest bits whose verdict passes. Modules that a glob in ``keep_fp32``
    matches stay in float32 there. The ranges of int8 and fp8 are found on ``calibrate``, a folder of photographs or a
    file of tensors (else on the cases with ordinary inputs); those of int8 by ``calibration``: minmax, percentile or
    entropy. ``max_error`` replaces the relative error that outputs may have (1e-5, tf32 and fp16 1e-2, bf16 5e-2, int8
    and fp8 1e-1); ``inputs`` is a folder of photographs to judge on as well.
    ``allow_float32_truth`` takes a comparison with PyTorch's float32 for a pass if float64 cannot run the module.
    ``capabilities`` are those that TensorRT for RTX builds a plan of every graph for; ``"none"`` leaves
    that out. With ``verdict=False`` the numbers are not judged, and nothing is built.

    Failed numerics do not raise: they are in ``bundle.manifest["verdict"]``. Raises InputError for anything that is
    wrong with the arguments, ModuleRefused where the module cannot be exported as asked.
    """
    seconds = StageTimes(progress)
    if opset not in OPSETS:
        raise InputError(f"opset {opset} is not supported; expected {OPSETS.start} to {OPSETS.stop - 1}")
    lowering = Lowering.of(precision, keep_fp32, calibrate, calibration)
    build_for = parse_targets(capabilities, RTX)
    seconds.start("resolve", "resolving the target")
    require()
    if lowering.chooses and not verdict:
        raise InputError(
            "received precision auto without a verdict, which is what chooses; expected attn2trt deploy; name a "
            "precision, as --precision fp32,fp16"
        )
    place = _Place(target, out)
    resolved = _resolve(target, example_inputs, dynamic, shapes, layout, seed, pretrained, checkpoint)
    destination = place.of(resolved)
    inputs, calibrate = (None if path is None else place.here / path for path in (inputs, calibrate))
    lowering = replace(lowering, calibrate=calibrate)
    batch = _Batch(resolved)
    options = [opset, verdict, max_error, seed, allow_float32_truth, *lowering.options, batch.is_default, [*build_for]]
    key = _key(batch.target, batch.module, options=options, read=[inputs, calibrate])
    seconds.start("reuse", "comparing with the bundle that is there")
    if not force and (found := _reusable(destination, key, batch, seed)) is not None:
        return place.named(found)
    # which precisions there will be is not known yet where one is to be chosen
    known = () if lowering.chooses else lowering.precisions
    stages = Stages(max_error, known) if verdict else NoStages(known)
    with (
        BundleWriter(destination) as writer,
        Simplifier() as simplifier,
        stages,
        BuildStages(writer.path, build_for) as builds,
    ):
        seconds.start("build", "building the module")
        resolved, module, traced = batch.trace(writer.path, opset, seconds)
        graph, exported, why_not_simplified = _simplify(traced, writer.path, seconds, simplifier)
        narrowed = {
            name: f"asked for {asked}, holds for {graph.axes[name]}"
            for name, asked in resolved.axes.items()
            if graph.axes[name] != asked
        }
        resolved = replace(resolved, axes=graph.axes)
        cases = make_cases(
            resolved.inputs, resolved.axes, seed=seed, images=inputs, preprocessing=resolved.preprocessing
        )
        low_writer = LowWriter(lowering, graph, resolved, cases, writer.path, module, seed, seconds.start)
        candidates = _candidates(low_writer, max_error)
        for lowered in candidates:
            hidden = Hidden()
            stages.open(
                module, cases, graph, exported, why_not_simplified, {name: low.graph for name, low in lowered.items()}
            )
            if verdict:
                builds.open(module, {FP32: graph, **{name: low.graph for name, low in lowered.items()}})
            pairs = _references(module, cases, graph, seed, hidden, lowered.values())
            seconds.start("reference", "computing the float64 reference and judging every stage against it")
            index, left_out = _record(stages.watch(pairs), writer.path / REFERENCE)
            result = stages.verdict(from_tensors(writer.path / REFERENCE, index))
            if verdict:
                seconds.start("tensorrt", "building plans with TensorRT for RTX")
                result = Verdict((*result.stages, *builds.results()))
            result = replace(result, allows_float32=allow_float32_truth)
            candidates.judged(result)
        if not lowering.chooses:
            result = name_lossy(result, lowered, functools.partial(_losses, low_writer))
        seconds.move("reference", "verdict", stages.seconds)
        files = _write_handover(resolved, graph, writer.path) | files_of(lowered) | builds.files
        manifest = {
            "tool": f"attn2trt {version('attn2trt')}",
            "key": key,
            "target": {
                "name": resolved.name,
                "paper": resolved.paper,
                "source": resolved.source,
                "weights": "; ".join([resolved.weights, *resolved.weight_notes]),
            },
            "build": _build_arguments(target, seed, pretrained, checkpoint),
            "opset": opset,
            "inputs": [spec_to_json(spec) for spec in resolved.inputs],
            "outputs": [spec_to_json(spec) for spec in graph.outputs],
            "axes": {name: axis_to_json(axis) for name, axis in resolved.axes.items()},
            "narrowed": narrowed,
            "default_batch": batch.finding,
            "notes": list(graph.notes),
            "preprocessing": dict(resolved.preprocessing),
            "simplified": {
                "done": not why_not_simplified,
                "why_not": why_not_simplified,
                **({"interrupted": True} if simplifier.was_interrupted else {}),
            },
            **({"program": exported.program} if exported.program else {}),
            "modules": dict(graph.modules),
            "cases": index,
            "cases_left_out": left_out,
            "hidden": [*hidden.findings(module), *stages.still()],
            "verdict": result.to_json(),
            "trtexec": trtexec_line(resolved.inputs, resolved.axes),
            **({"precisions": entries_of(lowered, resolved)} if lowered else {}),
            **candidates.account,
            "plans": [plan.to_json() for plan in builds.plans],
            "versions": _versions(),
            "seconds": seconds.done(),
        }
        return place.named(writer.commit(manifest, files))


class _Place:
    """The bundle's folder, checked and made absolute before any of the user's code runs, which may change the folder.

    Args:
        target: Its name gives the folder's, unless ``out`` is the folder.
        out: The folder as the user wrote it.

    Raises:
        InputError: The place is neither free nor a bundle's.
    """

    def __init__(self, target: str | Target | nn.Module, out: Path | str | None) -> None:
        self.here = Path.cwd()
        self._given = None if out is None else Path(out)
        if self._given is None and isinstance(target, str):
            self._given = DEFAULT_FOLDER / file_name(target)
        if self._given is not None:
            check_destination(self._given)
            recover(self.here / self._given)

    def of(self, resolved: Target) -> Path:
        """Return the absolute path."""
        if self._given is None:
            self._given = DEFAULT_FOLDER / resolved.file_name
        return self.here / self._given

    def named(self, bundle: Bundle) -> Bundle:
        """Return the bundle with its path as the user wrote it, if that still leads there."""
        assert self._given is not None
        stayed = os.path.exists(".") and Path.cwd() == self.here  # noqa: PTH110 - the folder itself may be gone
        return replace(bundle, path=self._given) if stayed else bundle


def _resolve(
    target: str | Target | nn.Module,
    example_inputs: Any,
    dynamic: Any,
    shapes: Sequence[str],
    layout: str | Mapping[str, str] | None,
    seed: int,
    pretrained: bool,
    checkpoint: Path | str | None,
) -> Target:
    from ..modules import catalog
    from ..modules.shapes import layouts_of, parse_shape, with_layouts

    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        if example_inputs is not None:
            raise InputError(f"example_inputs go with a module, not with the name {target!r}; use shapes")
        shapes = [shape.text for shape in with_layouts([*map(parse_shape, shapes)], layouts_of(layout))]
        return catalog.resolve(
            target,
            shapes=shapes,
            dynamic=dynamic,
            seed=seed,
            pretrained=pretrained,
            checkpoint=checkpoint,
            any_batch=True,
        )
    if (example_inputs is None) == (not shapes):
        wrong = "lacks example_inputs" if example_inputs is None else "has example_inputs and shapes"
        raise InputError(
            f"deploy({type(target).__name__}, …) {wrong}; pass a tensor, a tuple or a dict of tensors, or the shapes "
            'of all inputs, as shapes=["image=2x3x64x64", "size=2:float32[1,9]"]'
        )
    return catalog.from_module(target, example_inputs, shapes=shapes, dynamic=dynamic, layout=layout, any_batch=True)


def export_graph(
    target: Target,
    module: nn.Module,
    folder: Path,
    *,
    opset: int = DEFAULT_OPSET,
    progress: Progress | None = None,
) -> OnnxGraph:
    """Return the graph that ``deploy`` would hand over, in ``folder``; raises as it does."""
    seconds = StageTimes(progress)
    with Simplifier() as simplifier:
        return _simplify(_trace(target, module, folder, opset, seconds), folder, seconds, simplifier)[0]


def _build_arguments(
    target: str | Target | nn.Module, seed: int, pretrained: bool, checkpoint: Path | str | None
) -> dict[str, Any] | None:
    """The arguments that build the module again from the target's name; None for a module that came from Python."""
    if not isinstance(target, str):
        return None
    return {"seed": seed, "pretrained": pretrained, "checkpoint": checkpoint is not None}


def _trace(
    target: Target, module: nn.Module, folder: Path, opset: int, seconds: StageTimes, note: str = ""
) -> OnnxGraph:
    from ..export.trace.exporter import trace

    seconds.start("trace", f"tracing and exporting to ONNX{note}")
    exported = trace(target, module, folder / EXPORTED, opset=opset)
    try:
        check_contract(exported, opset=opset, inputs=target.inputs, outputs=exported.outputs, after="export")
    except CheckFailed as error:  # nothing but the module decides what torch.onnx makes of it
        raise ModuleRefused(f"{target.name} has no right ONNX form: {error}; {EXPORT_ADVICE}") from error
    return exported


def _simplify(
    exported: OnnxGraph, folder: Path, seconds: StageTimes, simplifier: Simplifier
) -> tuple[OnnxGraph, OnnxGraph, str]:
    """Return the graph to hand over, the graph as exported, and why they are the same one if they are."""
    seconds.start("simplify", "simplifying the graph")
    graph, why_not = simplifier.simplify(exported, folder / MODEL)
    if why_not:
        exported.path.replace(folder / MODEL)
        graph = exported = replace(exported, path=folder / MODEL)
    return graph, exported, why_not


class _Batch:
    """The default batch of a target, given up for a fixed one if the module refuses it.

    The module refuses it in a forward pass at a batch of one, or in tracing; nothing slower has run by then. An error
    of the last of the target's fallbacks is raised: it is about the sizes that were asked for.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.module: nn.Module | None = None
        self.is_default = bool(target.fallbacks)
        self._left = list(target.fallbacks)
        self._refused = ""
        if target.fingerprint is None:  # the built module is part of the bundle's key
            self.build()

    @property
    def finding(self) -> str:
        """The batch that was chosen and why, for people; "" if the caller chose it."""
        if not self.is_default:
            return ""
        batch = self.target.axes.get("batch") or self.target.inputs[0].shape[0]
        return f"fixed at {batch}: {self._refused}" if self._refused else f"{batch} by default"

    def target_of(self, bundle: Bundle) -> Target:
        """Return the target with the inputs of a bundle that was made of one of those to be tried."""
        targets = (self.target, *self._left)
        same = (one for one in targets if [spec_to_json(spec) for spec in one.inputs] == bundle.manifest["inputs"])
        return next(same, self.target)

    def build(self) -> nn.Module:
        """Return the module, built once, at sizes that it takes."""
        while self.module is None:
            try:
                self.module = self.target.build()
            except SizesRefused as error:
                self._give_up(error)
        return self.module

    def trace(self, folder: Path, opset: int, seconds: StageTimes) -> tuple[Target, nn.Module, OnnxGraph]:
        """Return the target that was exported, its module, and the graph as exported."""
        module = self.build()
        while True:
            try:
                graph = _trace(self.target, module, folder, opset, seconds, self.finding and f", batch {self.finding}")
                if self._left and not self._refused and graph.axes["batch"] != self.target.axes["batch"]:
                    raise ModuleRefused(f"{self.target.name} holds for batch {graph.axes['batch']} alone")
            except InputError as error:
                self._give_up(error)
            else:
                return self.target, module, graph

    def _give_up(self, error: InputError) -> None:
        if not self._left:
            raise error
        # the advice behind it is about an axis that was not asked for
        self._refused = self._refused or str(error).partition("; ")[0]
        self.target = self._left.pop(0)


def _candidates(writer: LowWriter, max_error: float | None) -> Candidates:
    """The graphs below float32 to be judged: those that were named, or what a search comes to."""
    if not writer.lowering.chooses:
        return Named(writer)
    from .precision_search import PrecisionSearch

    return PrecisionSearch(writer, _losses(writer), max_error)


def _losses(writer: LowWriter) -> Losses:
    from ..validate.losses import Losses

    names = [spec.name for spec in writer.graph.outputs]
    return Losses(writer.module, writer.cases, names, writer.seed)


def _references(
    module: nn.Module,
    cases: Sequence[Case],
    graph: OnnxGraph,
    seed: int,
    hidden: Hidden,
    lowered: Iterable[LowGraph],
) -> Iterator[tuple[Case, Reference]]:
    from ..validate.reference import references

    names = [spec.name for spec in graph.outputs]
    lower = [floor_of(low) for low in lowered]
    return zip(cases, references(module, cases, names, seed=seed, hidden=hidden, lower=lower), strict=True)


def _record(pairs: Iterable[tuple[Case, Reference]], path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    from safetensors.numpy import save_file

    tensors, index, left_out = to_tensors(pairs)
    save_file(tensors, str(path))
    return index, left_out


def _write_handover(target: Target, graph: OnnxGraph, folder: Path) -> dict[str, str]:
    script = inference_script(target.name, target.inputs, target.axes, graph.opset)
    (folder / SCRIPT).write_text(script, encoding="utf-8")
    files = {MODEL: "graph, float32", REFERENCE: "inputs and PyTorch outputs", SCRIPT: "example"}
    return {**files, WEIGHTS: "weights of the graph"} if (folder / WEIGHTS).exists() else files


def _key(target: Target, module: nn.Module | None, *, options: Sequence[Any], read: Sequence[Path | None]) -> str:
    """SHA-256 over everything that a bundle depends on, the files that are ``read`` among it; the same key means the
    same bundle."""
    fingerprint = target.fingerprint
    if module is not None:
        from ..modules.fingerprint import fingerprint as of_module

        fingerprint = of_module(module)
    sources = sorted(file for part in _PARTS for file in Path(__file__).parents[1].glob(part))
    parts = {
        "name": target.name,
        "fingerprint": fingerprint,
        "inputs": [spec_to_json(spec) for spec in target.inputs],
        "outputs": target.output_names,
        "axes": {name: str(axis) for name, axis in target.axes.items()},
        "options": [*options],
        "read": [[sha256(file) for file in _files(path)] for path in read],
        "sources": [hashlib.sha256(file.read_bytes()).hexdigest() for file in sources],
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files(path: Path | None) -> list[Path]:
    """Return the files that are read of a folder of photographs or of a file of tensors."""
    if path is None:
        return []
    if not path.exists() or path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"received {path}, a device, FIFO or socket; expected a file or a folder; give one")
    return images_in(path)


# The rooms whose code a bundle depends on.
_PARTS = tuple(f"{room}/**/*.py" for room in ("core", "modules", "export", "engines", "validate", "workflows"))


def _reusable(destination: Path, key: str, batch: _Batch, seed: int) -> Bundle | None:
    """Return the bundle at ``destination`` if another run would make the same one.

    A module of the user's is traced again, since its key does not hold all that it computes.
    """
    found = _unchanged(destination, key)
    if found is None or batch.module is None:
        return found
    from ..export.trace.exporter import program_of
    from ..validate.reuse import is_same

    program = program_of(batch.target_of(found), batch.module)
    return found if is_same(found, program, batch.module, seed=seed) else None


def _unchanged(destination: Path, key: str) -> Bundle | None:
    """Return the bundle at ``destination`` if it has this key and no file of it has changed since.

    One whose making met a killed process or a time limit is none: another run need not meet it.
    """
    if not (destination / MANIFEST).is_file():
        return None
    try:
        bundle = open_bundle(destination)
    except InputError:
        return None
    if bundle.manifest.get("key") != key or not all(finding.ok for finding in verify(destination)):
        return None
    interrupted = bundle.manifest.get("interrupted") or bundle.manifest.get("simplified", {}).get("interrupted")
    if interrupted or Verdict.from_json(bundle.manifest["verdict"]).was_interrupted:
        return None
    return Bundle(bundle.path, bundle.manifest, reused=True)


def _versions() -> Mapping[str, str]:
    found = {}
    for name in (
        "torch",
        "timm",
        "onnx",
        "onnxscript",
        "onnxsim",
        "onnxruntime-gpu",
        "onnxruntime",
        "numpy",
        "tensorrt-rtx",
        *("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
