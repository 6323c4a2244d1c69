"""Make a bundle of a target: export, lower, judge every stage, build plans."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import checked
from ..core.bundle import Bundle
from ..core.bundle_writer import BundleWriter
from ..core.graph import DEFAULT_OPSET
from ..core.precision import FP32, QUANTISED
from ..core.preprocessing import Preprocessing
from ..core.progress import Progress, StageTimes
from ..engines.tensorrt.targets import DEFAULT as DEFAULT_CAPABILITIES
from ..errors import InputError
from ..export.deploy_files import write_script
from ..export.simplify import Simplifier
from ..modules.grammar import onnx_path
from ..modules.packages import require
from ..modules.source_lines import classes_of
from ..modules.target import Target
from ..validate.cases import make_cases
from ..validate.stages.build import BuildStages
from ..validate.stages.graphs import GraphStages
from ..validate.stages.stage import expected_stages
from .batch_choice import BatchChoice
from .default_device import on_cpu
from .deploy_manifest import graph_entries, own_files, target_entries, verdict_entries
from .deploy_request import DeployRequest
from .earlier_keywords import with_earlier_keywords
from .float32_graph import simplify
from .judgement import GraphJudge, Judge, Judgement, judge_each
from .options import Judging, PrecisionRequest, Weights
from .place import Place
from .precision import PrecisionWriter, files_of
from .report import made_by, write_page
from .resolve import resolve
from .reuse import bundle_key, reusable
from .sensitivity import advised, name_most_sensitive
from .truths import Lowered, ModuleTruth
from .versions import package_versions

if TYPE_CHECKING:
    from torch import nn

    from ..modules.dynamic import Ranges
    from ..validate.sensitivity import LayerSensitivity


@with_earlier_keywords
@checked
@on_cpu
def deploy(
    target: str | Target | nn.Module,
    example_inputs: Any = None,
    *,
    out: Path | str | None = None,
    shapes: Sequence[str] = (),
    dynamic: str | Ranges | None = None,
    layout: str | Mapping[str, str] | None = None,
    opset: int = DEFAULT_OPSET,
    precision: str | Sequence[str] | PrecisionRequest = FP32,
    weights: Weights | None = None,
    judging: Judging | None = None,
    capabilities: str = DEFAULT_CAPABILITIES,
    against: str | nn.Module | None = None,
    preprocessing: Preprocessing | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Export a target to a bundle, judge every stage against PyTorch in float64, and return the bundle.

    Failed numerics do not raise, nor does a lower precision that this target cannot have: ``bundle.passed`` is then
    False, and ``bundle.manifest["verdict"]`` says why.

    Args:
        target: A name of the catalog (``"resnet50+cbam"``), an ONNX file (``"onnx:model.onnx"``), or a module, which is
            left as it is.
        example_inputs: A module's inputs: a tensor, a tuple, or a dict by the names of ``forward``'s arguments.
        out: The bundle's folder; ``bundles/<name>`` by default. A bundle that is there, unchanged and made of the same
            inputs, is returned as it is unless ``force``.
        shapes: The traced shape of each input, ``["2x3x64x64"]`` or ``["image=2x3x64x64", "size=2:float32[1,9]"]``;
            one text or tuples of numbers will do. A module has either these or ``example_inputs``.
        dynamic: The axes that vary, as text (``"batch=1:2:8"``: min:opt:max) or as a dict of triples. A fourth number
            is what every size is a multiple of. An expression of other axes ties an axis to them
            (``"mask.dim1=x.dim0"``). A batch that is not named is 1:2:8, or fixed if the module refuses that;
            ``"none"`` keeps every traced size.
        layout: ``"nhwc"``, or a dict by input: the channels of images are last.
        opset: The ONNX opset of the graphs; an ONNX file keeps its own.
        precision: The graphs to write beside float32, ``"fp32,fp16"``, or a request with options.
        weights: The source of the weights; random ones of seed 0 by default.
        judging: The way in which the verdict is reached.
        capabilities: Those that TensorRT for RTX builds a plan of every graph for, ``"sm86,sm120"``; ``"none"`` builds
            nothing.
        against: The PyTorch module, or the name of one, whose float64 an ONNX file is held against. Without one the
            truth is the file's graph itself in float64, and nothing is compared with PyTorch.
        preprocessing: The way from a photograph to the input, in place of the target's own: for the manifest, for
            photographs to judge and calibrate on, and for predictions on a data set.
        force: Make the bundle again even if it is there.
        progress: Called with a line for every step.

    The keywords of 0.1.0 that are now fields of ``Weights``, ``Judging`` and ``PrecisionRequest`` are accepted for one
    more version, with a DeprecationWarning: moving them is one edit in a caller, and needs no second code path here.

    Raises:
        InputError: An argument is wrong, or the module cannot be exported as asked (ModuleRefused).
        MissingRequirement: PyTorch or another package of the ``export`` extra is not installed.
        StorageError: Reading or writing failed.
    """
    times = StageTimes(progress)
    request = DeployRequest.of(
        opset, precision, weights or Weights(), judging or Judging(), capabilities, preprocessing
    )
    if isinstance(target, str) and (file := onnx_path(target)) is not None:
        from .deploy_file import FileTarget, deploy_file

        given = FileTarget(target, file, shapes, dynamic, against)
        given.require_sense(request, example_inputs=example_inputs, layout=layout)
        return deploy_file(given, request, Place(target, out), times, force=force)
    if against is not None:
        raise InputError("received against with a PyTorch target; expected it with an ONNX file; leave --against out")
    times.start("resolve", "resolving the target")
    require()
    request.precision.require_verdict(request.judging.verdict)
    place = Place(target, out)
    resolved = resolve(target, example_inputs, shapes=shapes, dynamic=dynamic, layout=layout, weights=request.weights)
    resolved = request.described(resolved)
    destination, request, batch = place.of(resolved), request.seen_from(place), BatchChoice(resolved)
    options = request.options(is_default_batch=batch.is_default)
    key = bundle_key(batch.target, batch.module, options=options, read=request.read)
    times.start("reuse", "comparing with the bundle that is there")
    if not force and (found := reusable(destination, key, batch, request.weights.seed)) is not None:
        return place.named(found)
    with BundleWriter(destination) as writer:
        manifest, files = _make(request, batch, writer.path, times, by_name=isinstance(target, str))
        describe = write_page(place.shown, functools.partial(times.start, "report"))
        return place.named(writer.commit({**manifest, "key": key, "seconds": times.done()}, files, describe))


def _make(
    request: DeployRequest, batch: BatchChoice, folder: Path, times: StageTimes, *, by_name: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Write the graphs, the reference and the plans into ``folder``; return manifest entries, and each file's role."""
    # the precisions are not known yet if one is to be chosen
    known = () if request.precision.chooses else request.precision.lower
    stages = GraphStages(request.judging.max_error, expected_stages(known) if request.judging.verdict else ())
    with Simplifier() as simplifier, stages, BuildStages(folder, request.build_for) as builds:
        times.start("build", "building the module")
        exported = batch.trace(folder, request.opset, times)
        request = replace(request, precision=request.precision.beside(exported.precision, batch.target.name))
        asked, module = batch.target, batch.build()
        model = simplify(exported, folder, times, simplifier)
        target, seed = replace(asked, axes=model.graph.axes), request.weights.seed
        cases = make_cases(
            target.inputs,
            target.axes,
            seed=seed,
            images=request.judging.photographs,
            preprocessing=target.preprocessing,
            io=request.precision.fed_in,
        )
        writer = PrecisionWriter(request.precision, model.graph, target, cases, folder, module, seed, times.start)
        truth = ModuleTruth(module, model.graph, seed, exported.precision in QUANTISED)
        judge = GraphJudge(model, truth, cases, folder, request.judging, stages, times, builds, module)
        judgement, choice = _judged(writer, judge, request.judging.max_error)
        times.move("reference", "verdict", stages.seconds)
        write_script(folder, target.name, target.inputs, target.axes, model.graph.opset)
        manifest = {
            "tool": f"attn2trt {version('attn2trt')}",
            **target_entries(asked, request.weights, by_name=by_name),
            **made_by(),
            "classes": classes_of(module),
            "opset": request.opset,
            **graph_entries(asked, model, was_interrupted=simplifier.was_interrupted),
            "default_batch": batch.finding,
            **verdict_entries(judgement, target),
            **choice,
            "plans": [plan.to_json() for plan in builds.plans],
            "versions": package_versions(),
        }
        files = own_files(folder, exported.precision, reference="inputs and PyTorch outputs")
        return manifest, files | files_of(judgement.lowered) | builds.files


def _judged(writer: PrecisionWriter, judge: Judge, max_error: float | None) -> tuple[Judgement, dict[str, Any]]:
    """Judge the precisions that were named, or search for one; return manifest entries about the choice, too."""
    if writer.request.chooses:
        from .precision_search import search_precision

        def judge_advised(lowered: Lowered) -> Judgement:
            judgement = judge(lowered)
            return replace(judgement, verdict=advised(judgement.verdict, lowered))

        found = search_precision(writer, _sensitivity(writer), judge_advised, max_error)
        return found.judgement, found.entries
    judgement = judge_each(writer.write, writer.request.lower, judge)
    measure = functools.partial(_sensitivity, writer)
    verdict = name_most_sensitive(judgement.verdict, judgement.lowered, measure, max_error)
    return replace(judgement, verdict=verdict), {}


def _sensitivity(writer: PrecisionWriter) -> LayerSensitivity:
    from ..validate.sensitivity import LayerSensitivity

    names = [spec.name for spec in writer.graph.outputs]
    assert writer.module is not None  # deploy has one
    return LayerSensitivity(writer.module, writer.cases, names, writer.seed)
