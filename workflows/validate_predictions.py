"""Compare the predictions of a bundle's runtimes on a data set; the part of ``validate`` behind ``--dataset``."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..core.arguments import checked
from ..core.bundle import Bundle, Folder, open_bundle
from ..core.file_hashes import require_unchanged
from ..core.manifest import REFERENCE
from ..core.precision import FLOAT32, PRECISIONS
from ..core.preprocessing import Preprocessing
from ..core.progress import Counted, Progress, silent
from ..core.scratch import scratch
from ..core.snapshot import copy_files
from ..errors import Attn2trtError, CheckFailed, InputError, MissingRequirement
from ..validate.case_values import STRESS_KINDS
from ..validate.metrics import PYTORCH as PYTORCH_TRUTH
from ..validate.predictions.choose import Thresholds, choose_metric
from ..validate.predictions.compare import Compared, PredictionComparison, Run
from ..validate.predictions.labels import Labels, array_labels, coco_of, find_labels
from ..validate.predictions.metric import Metric
from ..validate.predictions.results import Predictions
from ..validate.predictions.runtimes import files_of, open_runtimes, reference_stage
from ..validate.predictions.samples import Images, Tensors, find_samples
from ..validate.recorded import recorded_cases
from ..validate.stages.ort_process import start
from ..validate.stages.stage import Stage
from ..validate.verdict import Verdict

if TYPE_CHECKING:
    from torch import nn

ONNXRUNTIME, PYTORCH = "onnxruntime", "pytorch"
BY_MODULE = "give the module itself, in Python: attn2trt.validate_predictions(BUNDLE, IMAGES, reference=module)"
MetricName = Literal["top1", "topk", "detections", "argmax-map"]


@checked
def validate_predictions(
    bundle: Folder,
    dataset: Path | str,
    *,
    metric: MetricName | None = None,
    thresholds: Thresholds | None = None,
    labels: Path | str | None = None,
    reference: str | nn.Module = ONNXRUNTIME,
    preprocessing: Preprocessing | None = None,
    max_flips: float | None = None,
    verdict: Verdict | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Compare the predictions of every runtime found here with those of the float32 graph, or of PyTorch.

    Args:
        bundle: The bundle, or its folder.
        dataset: A folder of images, in folders of its own or not; or a .npz or .safetensors file with an array for
            each input and perhaps ``labels``.
        metric: What a prediction is; by default what the outputs tell.
        thresholds: What counts as a change.
        labels: A file of PATH CLASS, a COCO file, a folder of masks, "folders" or "none"; by default the folders of
            the images if there is one for each class.
        reference: "onnxruntime" for the float32 graph on the CPU; "pytorch" for the module, built again; or a module.
        preprocessing: The way from an image to the input, in place of the bundle's own.
        max_flips: The largest share of changed images that passes; None for no verdict.
        verdict: The verdict that ties the float32 graph to PyTorch; by default the one of the deployment.
        progress: Called with a line for every step.

    Returns:
        The images that changed, for each runtime.

    Raises:
        InputError: The data set, its labels or an argument does not fit the bundle, or no image can be read.
        CheckFailed: A file is not the one that the manifest lists, or the reference does not run.
        MissingRequirement: A package that is needed is not installed.
        StorageError: Another command replaced the bundle meanwhile.
    """
    order = PredictionRequest.of(
        bundle,
        dataset,
        metric=metric,
        thresholds=thresholds,
        labels=labels,
        reference=reference,
        preprocessing=preprocessing,
        max_flips=max_flips,
    )
    return order.run(verdict=verdict, progress=progress)


@dataclass(frozen=True)
class PredictionRequest:
    """A comparison of predictions that was asked for, checked; nothing has run.

    Attributes:
        bundle: The bundle as it was opened.
        samples: The data set.
        metric: What is compared.
        labels: The true answers, if there are any.
        reference: What the runtimes are compared with.
        max_flips: The largest share of changed images that passes; None for no verdict.
    """

    bundle: Bundle
    samples: Images | Tensors
    metric: Metric
    labels: Labels | None
    reference: str | nn.Module
    max_flips: float | None

    @classmethod
    def of(
        cls,
        bundle: Folder,
        dataset: Path | str,
        *,
        metric: MetricName | None = None,
        thresholds: Thresholds | None = None,
        labels: Path | str | None = None,
        reference: str | nn.Module = ONNXRUNTIME,
        preprocessing: Preprocessing | None = None,
        max_flips: float | None = None,
    ) -> PredictionRequest:
        """Return the request for arguments of ``validate_predictions``; raises InputError for a wrong one."""
        if max_flips is not None and not 0 <= max_flips <= 1:
            raise InputError(f"received max_flips {max_flips:g}; expected a share from 0 to 1, as 0.005 for 0.5 %")
        opened = open_bundle(bundle)
        how = preprocessing or opened.preprocessing
        samples = find_samples(Path(dataset), opened.inputs, opened.axes, how)
        if preprocessing is not None and isinstance(samples, Images):
            preprocessing.check_size(samples.spec, opened.axes)
        model = f"{opened.name} {opened.manifest['target'].get('source', '')}"
        coco = coco_of(labels)
        chosen = choose_metric(
            metric, opened.outputs, samples.size, thresholds or Thresholds(), model=model, labels=coco
        )
        _require_reference(opened, reference)
        return cls(opened, samples, chosen, _labels(labels, chosen, samples, how), reference, max_flips)

    def attempt(self, *, verdict: Verdict | None = None, progress: Progress | None = None) -> Predictions:
        """Compare the predictions; an error is the finding, beside a verdict that it must not hide."""
        try:
            return self.run(verdict=verdict, progress=progress)
        except Attn2trtError as error:
            words, unit = self.metric.words, self.metric.unit
            return Predictions(self.samples.words, words, unit, "", 0, (), max_flips=self.max_flips, error=error)

    def run(self, *, verdict: Verdict | None = None, progress: Progress | None = None) -> Predictions:
        """Compare the predictions. Raises what ``validate_predictions`` raises."""
        say, opened = progress or silent, self.bundle
        say("checking hashes")
        require_unchanged(opened)
        with scratch("predict") as folder, ExitStack() as stack:
            held = copy_files(opened, [*files_of(opened), REFERENCE], folder / "bundle")
            say("loading the runtimes")
            run, words, others = _reference(held, self.reference, verdict or _verdict(opened), stack, say)
            runtimes = [*others, *open_runtimes(held, self.samples.sizes, stack)]
            comparison = PredictionComparison(self.metric, run, runtimes, self.labels, _noise(opened, self.metric))
            count = len(self.samples.names)
            for done in comparison.run(self.samples):
                say(Counted(f"comparing predictions: {done} of {count} images"))
            found = _found(comparison, self.samples, words, self.labels, self.max_flips)
        _require_images(found, self.samples)
        return found


def _labels(
    given: Path | str | None, metric: Metric, samples: Images | Tensors, how: Preprocessing | None
) -> Labels | None:
    if isinstance(samples, Tensors):
        if given is None and samples.labels is not None:
            return array_labels(samples.labels, metric, samples.source)
        return find_labels(given, metric, samples.names, None, samples.size) if given is not None else None
    return find_labels(given, metric, samples.names, how, samples.size)


def _verdict(bundle: Bundle) -> Verdict | None:
    """Return the verdict of the deployment; None if there was none."""
    recorded = bundle.manifest["verdict"]
    return Verdict.from_json(recorded) if recorded.get("stages") else None


def _noise(bundle: Bundle, metric: Metric) -> float:
    """Return the relative difference that two healthy runs in float32 may have, by what PyTorch loses."""
    floors = [
        float(output["max"])
        for case in bundle.manifest["cases"]
        for output in case["outputs"]
        if output["name"] in metric.outputs and case["kind"] not in STRESS_KINDS
    ]
    return FLOAT32.between_runs * max([FLOAT32.unit_roundoff, *filter(math.isfinite, floors)])


def _reference(
    bundle: Bundle, reference: str | nn.Module, verdict: Verdict | None, stack: ExitStack, progress: Progress
) -> tuple[Run, str, list[Compared]]:
    """Return the reference, what it is in words, and the float32 graph as a runtime if it is not the reference."""
    stage = reference_stage(bundle)
    graph = stack.enter_context(start(stage, bundle.model_path))
    if reference == ONNXRUNTIME:
        graph.load()
        words = PRECISIONS[bundle.precision].words
        return graph.run, f"the {words} graph in ONNX Runtime on the CPU; {_tie(verdict, stage)}", []
    compared = Compared(stage, graph)
    compared.start()
    run = _pytorch(bundle, reference, progress)
    return run, "PyTorch in float32, the module of the bundle", [compared]


def _tie(verdict: Verdict | None, stage: Stage) -> str:
    """Return in words what ties the graph to PyTorch, or to its own float64."""
    found = None if verdict is None else next((one for one in verdict.stages if one.stage == stage), None)
    if verdict is None or found is None:
        return "no verdict ties it to PyTorch"
    truth = PYTORCH_TRUTH if verdict.source == PYTORCH_TRUTH else "its own float64, not to PyTorch"
    if found.has_passed:
        return f"its verdict ties it to {truth}: {found.status}"
    return f"its own verdict is {found.status}, so that nothing here is about PyTorch"


def _require_reference(bundle: Bundle, reference: str | nn.Module) -> None:
    """Raise for a reference that there is not: InputError, or MissingRequirement if PyTorch is not installed."""
    from .bundle_module import why_not_built

    if not isinstance(reference, str) or reference == ONNXRUNTIME:
        return
    if reference != PYTORCH:
        raise InputError(f"received reference {reference!r}; expected {ONNXRUNTIME}, {PYTORCH} or a module")
    if why := why_not_built(bundle, BY_MODULE):
        error: type[InputError | MissingRequirement] = MissingRequirement if "not installed" in why else InputError
        fix = "; leave it out" if bundle.is_of_file else ""
        raise error(f"received --reference {PYTORCH}: {why}{fix}")


def _pytorch(bundle: Bundle, reference: str | nn.Module, progress: Progress) -> Run:
    """Return what runs the module of a bundle, built again, or a module of the caller's."""
    if isinstance(reference, str):
        from .bundle_module import rebuild

        recorded = next(recorded_cases(bundle), None)
        return rebuild(bundle, recorded, progress)[1].run
    from ..engines.torch_runtime import TorchRuntime

    return TorchRuntime(reference.eval(), [output.name for output in bundle.outputs]).run


def _found(
    comparison: PredictionComparison,
    samples: Images | Tensors,
    reference: str,
    labels: Labels | None,
    max_flips: float | None,
) -> Predictions:
    notes = [*samples.notes, *([labels.note] if labels is not None and labels.note else [])]
    if comparison.in_all and comparison.images > 1:
        notes.append(
            f"the reference predicts {comparison.in_all} for all {comparison.images} images: what gives nothing else "
            "changes none of them; give other images, and see that --preprocessing is that of the training"
        )
    return Predictions(
        dataset=samples.words,
        metric=comparison.metric.words,
        unit=comparison.metric.unit,
        reference=reference,
        images=comparison.images,
        runtimes=tuple(runtime.result(comparison.in_all) for runtime in comparison.runtimes),
        scores={} if comparison.scores is None or not comparison.labelled else comparison.scores.result(),
        labels=labels.words if labels is not None else "",
        labelled=comparison.labelled,
        refused=tuple(comparison.refused),
        not_finite=tuple(comparison.not_finite),
        max_flips=max_flips,
        notes=tuple(notes),
    )


def _require_images(found: Predictions, samples: Images | Tensors) -> None:
    """Raise if there is nothing to say: InputError if no image can be read, CheckFailed if the reference is NaN."""
    if found.images:
        return
    if found.not_finite:
        raise CheckFailed(
            f"the reference is NaN or infinity on all {len(found.not_finite)} images that can be read; nothing can be "
            "compared; check the preprocessing and the weights"
        )
    name, why = found.refused[0]
    raise InputError(
        f"none of the {len(samples.names)} images can be used, the first of them {name}: {why}; give others with "
        "--dataset"
    )
