"""A bundle's graphs in ONNX Runtime's GPU providers, judged as every other runtime is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...core.bundle import Bundle
from ...core.precision import FP8, FP32, TF32
from ...engines.environment import ask_driver, try_provider
from ...engines.isolated import IsolatedRuntime
from ...engines.timing.runtimes import ORT_CUDA, ORT_TENSORRT, PROVIDERS, why_no_provider
from ...errors import CheckFailed, MissingRequirement
from ..cases import Case
from ..metamorphic import metamorphic
from ..metrics import FLOAT32, LOWER
from ..verdict import StageResult, judge_all, not_checked
from .graphs import not_loaded

if TYPE_CHECKING:
    from ..metrics import Reference

Pairs = Callable[[], Iterator[tuple[Case, "Reference"]]]
STAGES = {"onnxruntime cuda": ORT_CUDA, "onnxruntime tensorrt": ORT_TENSORRT}


def provider_stages(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> list[StageResult]:
    """For every provider and graph the comparison with the recorded outputs, and the one between the rows of a batch.

    None where there is no GPU. A provider whose libraries do not load is not checked, and says why; a graph that it
    does not run alone, without the CPU's kernels, has failed.
    """
    if not ask_driver().devices:
        return []
    stages: list[StageResult] = []
    for stage, name in STAGES.items():
        if why := why_no_provider(name) or try_provider(PROVIDERS[name]):
            stages.append(not_checked(stage, why))
            continue
        for precision in bundle.graphs:
            stages += _judged(bundle, precision, stage, PROVIDERS[name], pairs, max_error)
    return stages


def _judged(
    bundle: Bundle, precision: str, stage: str, provider: str, pairs: Pairs, max_error: float | None
) -> Iterator[StageResult]:
    stage = stage if precision == FP32 else f"{precision} {stage}"
    allowed = LOWER.get(precision, FLOAT32)
    graph = bundle.path / bundle.graphs[precision]
    with IsolatedRuntime(graph, optimise=precision != FP8, provider=provider, tf32=precision == TF32) as runtime:
        try:
            runtime.load()
        except MissingRequirement as error:
            yield StageResult(stage, "failed", str(error))
            return
        except CheckFailed as error:
            yield not_loaded(stage, error)
            return
        runs = {stage: runtime.run}
        yield from judge_all(runs, pairs(), max_error=max_error, declared=bundle.outputs, precision=allowed)
        yield metamorphic(runtime.run, pairs(), stage=f"{stage}, rows", precision=allowed)
