"""Judge a bundle again, on this machine and without PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.bundle import Folder, open_bundle, require_unchanged
from ..core.progress import Progress, StageTimes
from ..core.steady import steady
from ..validate.cases import Case, check_sizes
from ..validate.recorded import from_tensors
from ..validate.stages.onnxruntime import judge_graphs, judge_providers, judge_tuned
from ..validate.stages.stage import EXPORTED, ORT_PLAIN
from ..validate.stages.tensorrt import judge_plans
from ..validate.verdict import StageResult, Verdict, not_checked

if TYPE_CHECKING:
    from ..validate.metrics import Reference


@steady
def validate_bundle(
    bundle: Folder,
    *,
    progress: Progress | None = None,
    max_error: float | None = None,
    allow_float32_truth: bool = False,
) -> Verdict:
    """Judge the runtimes found here against the outputs that the bundle recorded in float64; needs no PyTorch.

    Args:
        bundle: The bundle, or its folder.
        progress: Called with a line for every step.
        max_error: Replaces the relative L2 error that outputs may have.
        allow_float32_truth: Take a comparison with PyTorch's float32 for a pass if float64 cannot run the module.

    Returns:
        The verdict, false if a stage failed or none ran.

    Raises:
        InputError: The folder is no bundle.
        CheckFailed: A file is not the one that the manifest lists: numbers of an unknown graph prove nothing.
        StorageError: The bundle was replaced again and again while it was read.
    """
    seconds = StageTimes(progress)
    opened = open_bundle(bundle)
    seconds.start("verify", "checking hashes")
    require_unchanged(opened)
    check_sizes(opened.manifest["cases"], opened.axes)
    recorded = Verdict.from_json(opened.manifest["verdict"])
    stages = [_as_recorded(stage) for stage in recorded.stages if stage.stage.runtime in (EXPORTED, ORT_PLAIN)]
    seconds.start("judge", "judging ONNX Runtime on the recorded cases")

    def pairs() -> Iterator[tuple[Case, Reference]]:
        return from_tensors(opened.reference_path, opened.manifest["cases"])

    for judged in (judge_graphs, judge_tuned, judge_plans, judge_providers):
        stages += judged(opened, pairs, max_error=max_error)
    return Verdict(tuple(stages), allow_float32_truth, recorded.source)


def _as_recorded(stage: StageResult) -> StageResult:
    """A stage of PyTorch, or of a file that is not in the bundle, as the export judged it: shown, not counted."""
    outcome = stage.status + (f" ({stage.why})" if stage.why else "")
    return not_checked(stage.stage, f"recorded at export: {outcome}")
