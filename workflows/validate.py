"""Judge a bundle again, on this machine and without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from ..core.arguments import checked
from ..core.bundle import Bundle, Folder, open_bundle
from ..core.file_hashes import require_unchanged
from ..core.precision import PRECISIONS
from ..core.progress import Progress, StageTimes, silent
from ..core.steady import steady
from ..engines.triton.address import SECONDS, parse_address
from ..engines.triton.client import TritonClient
from ..engines.triton.served import ServedVersion, find_served
from ..errors import InputError
from ..validate.cases import check_sizes
from ..validate.missing_cases import missing_cases
from ..validate.recorded import recorded_cases
from ..validate.stages.onnxruntime import judge_graphs, judge_graphs_for_plans, judge_providers, judge_tuned
from ..validate.stages.stage import EXPORTED, ORT_PLAIN, VALUES
from ..validate.stages.tensorrt import judge_plans
from ..validate.stages.triton import judge_served
from ..validate.verdict import NOT_CHECKED, StageResult, Verdict, not_checked


@dataclass(frozen=True)
class ServerVerdict:
    """The verdict on a server: its own name and version, and the models that were judged."""

    verdict: Verdict
    server: str
    served: tuple[ServedVersion, ...]

    def __bool__(self) -> bool:
        return bool(self.verdict)


@checked
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

    pairs, missing = partial(recorded_cases, opened), missing_cases(opened)

    for judged in (judge_graphs, judge_tuned, judge_graphs_for_plans, judge_plans, judge_providers):
        stages += (with_unrecorded(opened, stage, missing) for stage in judged(opened, pairs, max_error=max_error))
    return Verdict(tuple(stages), allow_float32_truth, recorded.source)


def with_unrecorded(bundle: Bundle, stage: StageResult, missing: Sequence[str]) -> StageResult:
    """Return the stage with the cases that took too much room to be judged here, and no pass if others are missing."""
    if not stage.comparisons or stage.stage.kind != VALUES:
        return stage
    names = [name for name in bundle.manifest.get("cases_left_out", ()) if name not in missing]
    left_out = f"too large to be recorded, so not judged here: {', '.join(names)}" if names else ""
    lost = f"the ranges ask for cases that are not recorded: {', '.join(missing)}; deploy the target again"
    why = "; ".join(filter(None, [stage.why, left_out, lost if missing else ""]))
    return replace(stage, why=why, status=NOT_CHECKED if missing and stage.has_passed else stage.status)


def _as_recorded(stage: StageResult) -> StageResult:
    """A stage of PyTorch, or of a file that is not in the bundle, as the export judged it: shown, not counted."""
    outcome = stage.status + (f" ({stage.why})" if stage.why else "")
    return not_checked(stage.stage, f"recorded at export: {outcome}")


@checked
def validate_server(
    bundle: Folder,
    server: str,
    *,
    model: str = "",
    version: str = "",
    precision: str | None = None,
    seconds: float = SECONDS,
    max_error: float | None = None,
    allow_float32_truth: bool = False,
    progress: Progress | None = None,
) -> ServerVerdict:
    """Judge what a server of the KServe protocol, as Triton, answers to the recorded cases; nothing else is judged.

    Args:
        bundle: The bundle, or its folder.
        server: ``grpc://host:port`` or ``http://host:port``, with ``/model`` or ``/model/version`` behind it.
        model: The model; every one that says that it serves this bundle if there is none here and in ``server``.
        version: Its version; every one that is ready if there is none.
        precision: That of the model's graph, whose floors are the ones that count; what the server says if None.
        seconds: The time limit of every request.
        max_error: Replaces the relative L2 error that outputs may have.
        allow_float32_truth: Take a comparison with PyTorch's float32 for a pass if float64 cannot run the module.
        progress: Called with a line for every step.

    Returns:
        The verdict, false if a stage failed or none ran, with the models that were judged.

    Raises:
        InputError: The folder is no bundle, or the server has no such model.
        CheckFailed: A file of the bundle is not the one that the manifest lists, or the server does not answer.
        MissingRequirement: There is no server, or Triton's client library is not installed.
    """
    address = parse_address(server)
    _require_sense(version or address.version, precision, seconds)
    report = progress or silent
    opened = open_bundle(bundle)
    report("checking hashes")
    require_unchanged(opened)
    check_sizes(opened.manifest["cases"], opened.axes)

    pairs, missing = partial(recorded_cases, opened), missing_cases(opened)

    stages: list[StageResult] = []
    with TritonClient(address, seconds=seconds) as client:
        report(f"asking {address}")
        name = client.server()
        found = find_served(
            client, opened, model=model or address.model, version=version or address.version, precision=precision
        )
        for served in found:
            report(f"judging {served.model} on the recorded cases")
            found_of = judge_served(client, opened, served, pairs, max_error=max_error)
            stages += (with_unrecorded(opened, stage, missing) for stage in found_of)
    return ServerVerdict(Verdict(tuple(stages), allows_float32=allow_float32_truth), name, tuple(found))


def _require_sense(version: str, precision: str | None, seconds: float) -> None:
    """Raise InputError for what no server can be asked for, before one is asked."""
    if version and not (version.isascii() and version.isdigit()):
        raise InputError(f"received version {version!r}; expected a number, as 1; correct it")
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"received precision {precision!r}; expected {', '.join(PRECISIONS)}; correct it")
    if not 0 < seconds < float("inf"):
        raise InputError(f"received a time limit of {seconds} s; expected more than 0; correct it")
