"""The variant of an ONNX file: its graph in ONNX Runtime and, on a machine with a GPU, its TensorRT plans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.bundle import Bundle
from ..core.precision import FP32
from ..core.progress import Progress, StageTimes
from ..engines.tensorrt.flavours import FLAVOURS
from ..engines.tensorrt.here import why_no_flavour
from ..engines.tensorrt.targets import NONE
from ..engines.timing.runtimes import RUNTIMES, PlanRuntime, check_names
from ..errors import CheckFailed, InputError, MissingRequirement
from .batches import check_batches
from .bundle_variants import from_bundle, plan_kinds
from .compile import compile_bundle
from .deploy_file import FileTarget, deploy_file
from .deploy_request import DeployRequest
from .options import Judging, PrecisionRequest
from .place import Place
from .timed_request import TimedRequest
from .variants import Variant


def from_file(request: TimedRequest, file: Path, folder: Path) -> list[Variant]:
    """Return the one variant of an ONNX file, checked beside one case of its own float64.

    The file becomes a bundle in ``folder``, so that its graph is simplified as ``deploy`` simplifies it, and so that
    plans are built as ``compile`` builds them. Raises InputError as ``deploy_file``, and if the graph does not hold for
    a batch.
    """
    name, runtimes, batches, progress = request.target, request.runtimes, request.batches, request.progress
    asked = [RUNTIMES[one] for one in runtimes]
    precisions = list(dict.fromkeys([FP32, *(kind.precision for kind in asked if isinstance(kind, PlanRuntime))]))
    target = FileTarget(name, file, request.shapes, request.dynamic, batches=batches, most_cases=1)
    written, judging = PrecisionRequest(precisions=precisions), Judging(verdict=False)
    wanted = DeployRequest.of(request.opset, written, request.weights, judging, NONE)
    target.require_sense(wanted, example_inputs=None, layout=None)
    bundle = deploy_file(target, wanted, Place(name, folder / "file" / "bundle"), StageTimes(progress))
    check_batches(batches, bundle.inputs, bundle.axes)
    bundle, why_not = _with_plans(bundle, precisions, is_wanted=not runtimes or len(precisions) > 1, progress=progress)
    names = check_names(runtimes, plans=plan_kinds(bundle))
    (variant,) = from_bundle(bundle, folder, names, progress=progress)
    for one in names:
        kind = RUNTIMES[one]
        if isinstance(kind, PlanRuntime) and isinstance(variant.runners[one], str):
            variant.runners[one] = why_no_flavour(FLAVOURS[kind.flavour]) or why_not or variant.runners[one]
    return [variant]


def _with_plans(
    bundle: Bundle, precisions: Sequence[str], *, is_wanted: bool, progress: Progress
) -> tuple[Bundle, str]:
    """Return the bundle with a plan of each graph, and why one could not be built; "" if all were, or none here can."""
    missing = [why_no_flavour(flavour) for flavour in FLAVOURS.values()]
    if all(missing) or not is_wanted:
        return bundle, ""
    why_not = ""
    for precision in [name for name in bundle.graphs if name in (*precisions, bundle.precision)]:
        try:
            bundle = compile_bundle(bundle, precision=precision, progress=progress).bundle
        except (CheckFailed, MissingRequirement, InputError) as error:
            why_not = str(error)
    return bundle, why_not
