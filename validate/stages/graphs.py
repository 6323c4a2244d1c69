"""The stages of ``deploy``, judged while the references are computed, with the place if one goes wrong."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...core.graph import ModelGraph, OnnxGraph
from ...core.precision import FP32, QUANTISED
from ...engines.isolated import IsolatedRuntime
from ...engines.tensorrt.flavours import RTX, TENSORRT
from ..cases import Case
from ..verdict import StageResult, Verdict, not_checked
from .judge import StageJudge, with_advice, with_place
from .ort_process import is_optimised, start
from .stage import EXPORTED, ORT_CPU, WRITTEN, Stage, lower_stages, own_stages
from .tensorrt import without_plan

if TYPE_CHECKING:
    from torch import nn

    from ..localize import Location
    from ..metrics import Reference
    from ..own_choices import OwnChoices


def _stages_of(lower: Iterable[str], own: str = FP32) -> list[Stage]:
    """All stages, by the lower precisions; ``own`` is that of the module itself."""
    return [*own_stages(own), *(stage for name in lower for stage in lower_stages(name))]


class Stages:
    """The stages of a verdict, judged case by case while the references are computed, so that none is kept.

    Entered, it starts the runtimes' processes, which get ready while PyTorch traces; ``open`` gives them the graphs.
    """

    def __init__(self, max_error: float | None, lower: Sequence[str] = ()) -> None:
        self._max_error = max_error
        self._stages = _stages_of(lower)
        self._runtimes: dict[Stage, IsolatedRuntime] = {}
        self._judges: dict[Stage, StageJudge] = {}
        self._own = FP32
        self.seconds = 0.0

    def __enter__(self) -> Stages:
        self._runtimes = {stage: start(stage) for stage in self._stages}
        return self

    def __exit__(self, *_: object) -> None:
        while self._runtimes:
            self._runtimes.popitem()[1].__exit__(None, None, None)

    def open(
        self, module: nn.Module, cases: Sequence[Case], model: ModelGraph, lowered: Mapping[str, OnnxGraph]
    ) -> None:
        """Let the runtimes load.

        Called again, it begins a new verdict, on lower precisions of other graphs.

        Args:
            module: What the graphs were made of.
            cases: The inputs that are judged.
            model: The graph that PyTorch exported, and what it was simplified to.
            lowered: The graphs of the lower precisions.
        """
        if self._judges:  # each process loads one model
            self.__exit__()
        self._own = model.graph.precision
        self._rename_waiting()
        self._stages = _stages_of(lowered, self._own)
        self._module, self._cases = module, {case.name: case for case in cases}
        written = Stage(WRITTEN, self._own)
        self._graphs = {stage: lowered.get(stage.precision, model.graph) for stage in self._stages} | {
            Stage(EXPORTED, self._own): model.exported
        }
        self._why_not_simplified = model.why_not_simplified
        judged = [stage for stage in self._stages if not (model.why_not_simplified and stage == written)]
        self._runtimes |= {stage: start(stage) for stage in judged if stage not in self._runtimes}
        if model.why_not_simplified and (unused := self._runtimes.pop(written, None)):
            unused.__exit__(None, None, None)
        for stage, runtime in self._runtimes.items():
            runtime.open(self._graphs[stage].path)
        self._judges = {
            stage: StageJudge(
                stage,
                self._runtimes[stage],
                self._max_error,
                self._graphs[stage].outputs,
                io=self._graphs[stage].io,
                on_levels=self._own in QUANTISED and stage.precision == self._own and not is_optimised(stage),
            )
            for stage in judged
        }

    def _rename_waiting(self) -> None:
        """Give the processes that wait the precision that the module turned out to compute in."""
        waiting, self._runtimes = self._runtimes, {}
        for stage, runtime in waiting.items():
            known = replace(stage, precision=self._own) if stage.precision == FP32 else stage
            if known in self._runtimes:
                runtime.__exit__(None, None, None)
            else:
                self._runtimes[known] = runtime

    def watch(self, pairs: Iterable[tuple[Case, Reference]]) -> Iterator[tuple[Case, Reference]]:
        """Pass every pair on after judging each stage on it; the runtimes load while the first is computed."""
        for case, reference in pairs:
            since = time.perf_counter()
            for judge in self._judges.values():
                judge.add(case, reference)
            self.seconds += time.perf_counter() - since
            yield case, reference

    def verdict(
        self, recorded: Iterable[tuple[Case, Reference]], own_choices: Callable[[], OwnChoices] | None = None
    ) -> Verdict:
        """Every stage's result; the checks that compare a batch's rows run on the recorded cases.

        A stage that failed is judged again by ``own_choices``, which is called for the first of them.
        """
        since = time.perf_counter()
        results: list[StageResult] = []
        for stage in self._stages:
            if stage not in self._judges:
                why = f"the graph is handed over as exported: {self._why_not_simplified}"
                results.append(not_checked(stage, why))
                continue
            judge = self._judges[stage]
            result = judge.judged_again(judge.result(), self._graphs[stage].path, own_choices)
            if stage.precision != self._own:
                result = with_advice(result)
            elif self._own == FP32 and not any(earlier.status == "failed" for earlier in results):
                result = with_place(result, functools.partial(self._locate, stage))
            results.append(result)
        results += [*self._judges[Stage(ORT_CPU, self._own)].rows(recorded), without_plan()]
        self.seconds += time.perf_counter() - since
        return Verdict(tuple(results))

    def still(self) -> list[str]:
        """Return one sentence for every output with channels whose variation could not be compared."""
        return next((judge.slices.still() for judge in self._judges.values()), [])

    def _locate(self, stage: Stage, names: Collection[str]) -> Location | None:
        from ..localize import locate

        case = min((self._cases[name] for name in names), key=lambda case: math.prod(case.sizes.values()))
        optimise, opener = is_optimised(stage), functools.partial(start, stage)
        return locate(self._module, self._graphs[stage], case, optimise=optimise, opener=opener)


class NoStages:
    """Stands in for Stages if the numbers are not to be judged."""

    seconds = 0.0

    def __init__(self, lower: Sequence[str] = ()) -> None:
        self._stages = _stages_of(lower)

    def __enter__(self) -> NoStages:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def open(self, _module: nn.Module, _cases: object, model: ModelGraph, lowered: Mapping[str, OnnxGraph]) -> None:
        """Take the stages from the graphs, which nothing runs."""
        self._stages = _stages_of(lowered, model.graph.precision)

    def watch(self, pairs: Iterable[tuple[Case, Reference]]) -> Iterable[tuple[Case, Reference]]:
        """Every pair, not judged."""
        return pairs

    def still(self) -> list[str]:
        """Return no sentence: nothing was compared."""
        return []

    def verdict(self, *_: object) -> Verdict:
        """Every stage as not checked."""
        stages = (*self._stages, Stage(RTX.name, ""), Stage(TENSORRT.name, ""))
        return Verdict(tuple(not_checked(stage, "export only; attn2trt deploy checks it") for stage in stages))
