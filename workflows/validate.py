"""Judge a bundle again, on this machine and without PyTorch."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..core.bundle import Bundle, Folder, open_bundle, require_unchanged
from ..core.steady import steady
from ..engines.isolated import IsolatedRuntime
from ..errors import CheckFailed, MissingRequirement
from ..validate.cases import Case, check_sizes
from ..validate.metamorphic import metamorphic
from ..validate.metrics import LOWER
from ..validate.recorded import from_tensors
from ..validate.stages.graphs import (
    STAGE_EXPORTED,
    STAGE_ORT,
    STAGE_SIMPLIFIED,
    lower_stages,
    not_loaded,
    with_advice,
    with_place,
)
from ..validate.stages.plans import plan_stages
from ..validate.stages.providers import provider_stages
from ..validate.stages.tuned import Pairs, tuned_stages
from ..validate.verdict import StageResult, Verdict, judge_all, not_checked

if TYPE_CHECKING:
    from ..validate.localize import Location
    from ..validate.metrics import Reference


from ..core.progress import Progress, StageTimes


@steady
def validate_bundle(
    path: Folder,
    *,
    progress: Progress | None = None,
    max_error: float | None = None,
    allow_float32_truth: bool = False,
) -> Verdict:
    """Judge the runtimes found here against the PyTorch outputs that the bundle recorded; needs no PyTorch.

    Raises CheckFailed where a file is not the one the manifest lists: numbers of an unknown graph prove nothing.
    """
    seconds = StageTimes(progress)
    bundle = open_bundle(path)
    seconds.start("verify", "checking hashes")
    require_unchanged(bundle)
    check_sizes(bundle.manifest["cases"], bundle.axes)
    recorded = Verdict.from_json(bundle.manifest["verdict"])
    stages = [_as_recorded(stage) for stage in recorded.stages if stage.stage == STAGE_EXPORTED]
    seconds.start("judge", "judging ONNX Runtime on the recorded cases")

    def pairs() -> Iterator[tuple[Case, Reference]]:
        return from_tensors(bundle.reference_path, bundle.manifest["cases"])

    float32, rows = _judge_float32(bundle, pairs, max_error)
    stages += [*float32, *_judge_lower(bundle, pairs, max_error), *rows]
    stages += tuned_stages(bundle, pairs, max_error=max_error)
    stages += plan_stages(bundle, pairs, max_error=max_error)
    stages += provider_stages(bundle, pairs, max_error=max_error)
    return Verdict(tuple(stages), allows_float32=allow_float32_truth)


def _judge_float32(bundle: Bundle, pairs: Pairs, max_error: float | None) -> tuple[list[StageResult], ...]:
    """Return the stages of the float32 graph, as it is written and optimised, and the one that compares a batch's rows.

    There is none of the latter if the optimised graph does not load.
    """
    with (
        IsolatedRuntime(bundle.model_path, optimise=False) as plain,
        IsolatedRuntime(bundle.model_path, optimise=True) as production,
    ):
        loaded, found = {}, {}
        for stage, runtime in {STAGE_SIMPLIFIED: plain, STAGE_ORT: production}.items():
            try:
                runtime.load()
                loaded[stage] = runtime.run
            except (CheckFailed, MissingRequirement) as error:
                found[stage] = not_loaded(stage, error)
        judged = judge_all(loaded, pairs(), max_error=max_error, declared=bundle.outputs)
        found |= {result.stage: result for result in judged}
        written, run = found[STAGE_SIMPLIFIED], found[STAGE_ORT]
        if written.status != "failed":
            # Without PyTorch only the graph as it is written can say where the optimised one leaves it.
            run = with_place(run, lambda names: _locate_without_pytorch(bundle, names, pairs()))
        return [written, run], [metamorphic(production.run, pairs())] if STAGE_ORT in loaded else []


def _judge_lower(bundle: Bundle, pairs: Pairs, max_error: float | None) -> list[StageResult]:
    """The stages of every lower precision that the bundle holds, on the recorded cases."""
    found: list[StageResult] = []
    for precision, name in bundle.graphs.items():
        for judged in lower_stages(precision) if precision in LOWER else ():
            with judged.runtime(bundle.path / name) as runtime:
                try:
                    runtime.load()
                except (CheckFailed, MissingRequirement) as error:
                    found.append(not_loaded(judged.stage, error))
                    continue
                allowed: dict[str, Any] = {"max_error": max_error, "precision": judged.precision}
                runs = {judged.stage: runtime.run}
                found += map(with_advice, judge_all(runs, pairs(), declared=bundle.outputs, **allowed))
    return found


def _locate_without_pytorch(
    bundle: Bundle, names: Collection[str], pairs: Iterable[tuple[Case, Reference]]
) -> Location | None:
    from ..validate.localize.between import Side, locate_between

    case, reference = min(
        ((case, reference) for case, reference in pairs if case.name in names),
        key=lambda pair: math.prod(pair[0].sizes.values()),
    )
    plain, production = (
        Side(bundle.model_path, functools.partial(IsolatedRuntime, optimise=optimise)) for optimise in (False, True)
    )
    return locate_between(plain, production, case, bundle.manifest.get("modules", {}), floors=reference.floors)


def _as_recorded(stage: StageResult) -> StageResult:
    """A stage that needs PyTorch, as the export judged it: told, not counted as checked here."""
    outcome = stage.status + (f" ({stage.why})" if stage.why else "")
    return not_checked(stage.stage, f"recorded at export: {outcome}")
