"""The stages of a verdict: who runs each, what was found on every case, and where it goes wrong."""

from __future__ import annotations

import functools
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.graph import OnnxGraph
from ...engines.isolated import IsolatedRuntime, Kernels
from ...engines.tensorrt.flavours import RTX
from ...errors import CheckFailed, Interrupted, MissingRequirement
from ..cases import Case
from ..metamorphic import metamorphic
from ..metrics import FLOAT32, LOWER, Precision
from ..slices import VARIATION, Slices
from ..verdict import StageResult, Verdict, concluded, judge_case, not_checked

if TYPE_CHECKING:
    from torch import nn

    from ..localize import Location
    from ..metrics import Comparison, Reference

STAGE_EXPORTED, STAGE_SIMPLIFIED, STAGE_ORT = "torch → onnx", "simplified", "onnxruntime cpu"
STAGE_TENSORRT = "tensorrt"
# Failures of a whole: no single case and no place in the graph shows them.
_NOWHERE = frozenset({"budget", "floor", VARIATION})
# How a provider is written, by the last word of the stages that it runs.
_PROVIDERS = {"cpu": "CPU", "cuda": "CUDA", "tensorrt": "TensorRT"}


@dataclass(frozen=True)
class Judged:
    """A stage that runs a graph: in which settings, and with which precision's floors and allowances.

    ``kernels`` round as the precision does, where ONNX Runtime's own do not.
    """

    stage: str
    optimise: bool
    precision: Precision = FLOAT32
    kernels: Kernels = "own"

    def runtime(self, model: Path | None = None) -> IsolatedRuntime:
        """The process that runs it."""
        return IsolatedRuntime(model, optimise=self.optimise, kernels=self.kernels)


FLOAT32_STAGES = (Judged(STAGE_EXPORTED, False), Judged(STAGE_SIMPLIFIED, False), Judged(STAGE_ORT, True))


# 8-bit numbers are rounded where the graph says so, in any runtime.
_KERNELS: Mapping[str, Kernels] = {"fp16": "half", "bf16": "half", "tf32": "tf32"}


def lower_stages(precision: str) -> tuple[Judged, ...]:
    """The stages of a lower precision: the graph as its precision says and, where ONNX Runtime may have it on the CPU,
    as it runs in production. Its optimiser makes invalid graphs of fp8 (1.31 puts a Transpose between the pair)."""
    allowed = LOWER[precision]
    exact = Judged(precision, False, allowed, _KERNELS.get(precision, "own"))
    return (exact,) if precision in ("tf32", "fp8") else (exact, Judged(f"{precision} {STAGE_ORT}", True, allowed))


def _stages_of(lower: Iterable[str]) -> list[Judged]:
    """All stages, by the lower precisions."""
    return [*FLOAT32_STAGES, *(stage for name in lower for stage in lower_stages(name))]


class Stages:
    """The stages of a verdict, judged case by case while the references are computed, so that none is kept.

    Entered, it starts the runtimes' processes, which get ready while PyTorch traces; ``open`` gives them the graphs.
    """

    def __init__(self, max_error: float | None, lower: Sequence[str] = ()) -> None:
        self._max_error = max_error
        self._stages = _stages_of(lower)
        self._found: dict[str, list[tuple[str, Comparison]]] = {}
        self._slices: dict[str, Slices] = {}
        self._runs: dict[str, IsolatedRuntime] = {}
        self._failed: dict[str, StageResult] = {}
        self._is_open = False
        self.seconds = 0.0

    def __enter__(self) -> Stages:
        self._start(self._stages)
        return self

    def _start(self, stages: Iterable[Judged]) -> None:
        for judged in stages:
            self._runs[judged.stage] = judged.runtime()

    def _stop(self, stages: Iterable[str]) -> None:
        for stage in stages:
            if stage in self._runs:
                self._runs.pop(stage).__exit__(None, None, None)

    def open(
        self,
        module: nn.Module,
        cases: Sequence[Case],
        graph: OnnxGraph,
        exported: OnnxGraph,
        why_not_simplified: str,
        lowered: Mapping[str, OnnxGraph],
    ) -> None:
        """Let the runtimes load: ``exported`` is the graph as PyTorch exported it, ``graph`` the one to hand over,
        both the same where ``why_not_simplified`` says so; ``lowered`` are those of the lower precisions.

        Called again, it begins a new verdict, on lower precisions of other graphs.
        """
        if self._is_open:  # each process loads one model
            self._stop(list(self._runs))
        self._stages, self._is_open = _stages_of(lowered), True
        self._start(judged for judged in self._stages if judged.stage not in self._runs)
        self._found = {judged.stage: [] for judged in self._stages}
        self._slices = {judged.stage: Slices() for judged in self._stages}
        self._failed = {}
        self._module, self._cases = module, {case.name: case for case in cases}
        self._why_not_simplified = why_not_simplified
        float32 = {STAGE_EXPORTED: exported, STAGE_SIMPLIFIED: graph, STAGE_ORT: graph}
        self._graphs = {
            judged.stage: float32.get(judged.stage) or lowered[judged.precision.name] for judged in self._stages
        }
        if why_not_simplified:
            self._stop([STAGE_SIMPLIFIED])
        for stage, runtime in self._runs.items():
            runtime.open(self._graphs[stage].path)

    def __exit__(self, *_: object) -> None:
        for runtime in self._runs.values():
            runtime.__exit__(None, None, None)

    def watch(self, pairs: Iterable[tuple[Case, Reference]]) -> Iterator[tuple[Case, Reference]]:
        """Pass every pair on after judging each stage on it."""
        for case, reference in pairs:
            since = time.perf_counter()
            self._await_loading()
            for judged in self._stages:
                if judged.stage in self._runs:
                    self._found[judged.stage] += judge_case(
                        self._runs[judged.stage].run,
                        case,
                        reference,
                        max_error=self._max_error,
                        declared=self._graphs[judged.stage].outputs,
                        precision=judged.precision,
                        slices=self._slices[judged.stage],
                    )
            self.seconds += time.perf_counter() - since
            yield case, reference

    def _await_loading(self) -> None:
        """They load beside each other, and while the first reference is computed."""
        for stage, runtime in list(self._runs.items()):
            try:
                runtime.load()
            except (CheckFailed, MissingRequirement) as error:
                self._failed[stage] = not_loaded(stage, error)
                self._stop([stage])

    def verdict(self, recorded: Iterable[tuple[Case, Reference]]) -> Verdict:
        """Every stage's result; the checks that compare a batch's rows run on the recorded cases."""
        since = time.perf_counter()
        results: list[StageResult] = []
        for judged in self._stages:
            stage = judged.stage
            if stage in self._failed:
                results.append(self._failed[stage])
            elif stage in self._runs:
                result = concluded(stage, self._found[stage], self._slices[stage], judged.precision)
                if judged.precision is not FLOAT32:
                    result = with_advice(result)
                elif not any(earlier.status == "failed" for earlier in results):
                    result = with_place(result, functools.partial(self._locate, self._graphs[stage], judged.optimise))
                results.append(result)
            else:
                results.append(not_checked(stage, f"the graph is handed over as exported: {self._why_not_simplified}"))
        if STAGE_ORT in self._runs:
            results.append(metamorphic(self._runs[STAGE_ORT].run, recorded))
        results.append(tensorrt_stage())
        self.seconds += time.perf_counter() - since
        return Verdict(tuple(results))

    def still(self) -> list[str]:
        """Return one sentence for every output with channels whose variation could not be compared."""
        return next(iter(self._slices.values())).still() if self._slices else []

    def _locate(self, graph: OnnxGraph, optimise: bool, names: Collection[str]) -> Location | None:
        from ..localize import locate

        case = min((self._cases[name] for name in names), key=lambda case: math.prod(case.sizes.values()))
        opener = functools.partial(IsolatedRuntime, optimise=optimise)
        return locate(self._module, graph, case, optimise=optimise, opener=opener)


class NoStages:
    """Stands in for Stages where the numbers are not to be judged."""

    seconds = 0.0

    def __init__(self, lower: Sequence[str] = ()) -> None:
        self._stages = _stages_of(lower)

    def __enter__(self) -> NoStages:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def open(self, *_: object) -> None:
        return None

    def watch(self, pairs: Iterable[tuple[Case, Reference]]) -> Iterable[tuple[Case, Reference]]:
        """Every pair, not judged."""
        return pairs

    def still(self) -> list[str]:
        """Return no sentence: nothing was compared."""
        return []

    def verdict(self, _recorded: Iterable[tuple[Case, Reference]]) -> Verdict:
        """Every stage as not checked."""
        stages = (*(judged.stage for judged in self._stages), RTX.name, STAGE_TENSORRT)
        return Verdict(tuple(not_checked(stage, "export only; attn2trt deploy checks it") for stage in stages))


def with_place(result: StageResult, locate: Callable[[Collection[str]], Location | None]) -> StageResult:
    """A stage whose numbers are wrong, with where they become wrong; ``locate`` is given the names of failing cases."""
    wrong = [case for case, found in result.comparisons if not found.passed and found.which not in _NOWHERE]
    if not wrong:
        return result
    try:
        place = locate(wrong)
    except Exception as error:  # the verdict stands whether or not the place is found
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        interrupted = result.was_interrupted or isinstance(error, Interrupted)
        why = f"{result.why}; where it goes wrong was not found ({reason})"
        return replace(result, why=why, was_interrupted=interrupted)
    return replace(result, why=f"{result.why}; {place or 'no single module could be named'}")


def with_advice(result: StageResult) -> StageResult:
    """A stage of a lower precision that failed, with what a user can do about it."""
    if result.status != "failed":
        return result
    return replace(result, why=f"{result.why}; --keep-fp32 MODULE keeps a module in float32")


def not_loaded(stage: str, error: CheckFailed | MissingRequirement) -> StageResult:
    """Return the stage of a graph that could not be loaded: failed if the runtime refuses the graph.

    It is not checked if the runtime is not here, or lacks only kernels, as ONNX Runtime's CPU provider for bfloat16.
    """
    if isinstance(error, MissingRequirement):
        return not_checked(stage, str(error))
    missing = re.search(r"NOT_IMPLEMENTED : Could not find an implementation for (\w+)\((\d+)\)", str(error))
    words = stage.split()
    precision, provider = words[0], words[-1]
    if missing and precision in LOWER and provider in _PROVIDERS:
        what = f"{LOWER[precision].words} {missing[1]} (opset {missing[2]})"
        return not_checked(stage, f"ONNX Runtime's {_PROVIDERS[provider]} provider has no {what}")
    return StageResult(stage, "failed", str(error), was_interrupted=isinstance(error, Interrupted))


def tensorrt_stage() -> StageResult:
    """What can be said of TensorRT here."""
    from ...engines.environment import probe_tensorrt

    found = probe_tensorrt()
    if found.status != "usable":
        why = "TensorRT is not installed here" if found.status == "missing" else found.detail
        return not_checked(STAGE_TENSORRT, why)
    return not_checked(STAGE_TENSORRT, "no plan was built; run attn2trt compile BUNDLE, then attn2trt validate BUNDLE")
