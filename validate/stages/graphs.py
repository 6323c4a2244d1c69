"""The stages of a model's graphs in ONNX Runtime on the CPU, judged case by case while the truth is computed."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.graph import ModelGraph, OnnxGraph
from ...core.precision import FP32, PRECISIONS
from ...engines.child import ANSWER_SECONDS
from ...engines.isolated import IsolatedRuntime
from ...errors import one_line
from ..cases import Case
from ..metrics import Reference
from ..movement import Movement
from ..slices import Slices
from ..verdict import FAILED, StageResult
from .judge import Pairs, StageJudge, with_place
from .ort_process import is_optimised, options_of, start
from .stage import WRITTEN, Stage, given_stages, lower_stages

if TYPE_CHECKING:
    from torch import nn

    from ..localize import Location
    from ..own_choices import OwnChoices

# Find the place at which a graph goes wrong: (stage, graph, recorded cases, names of those that fail) -> place.
Locate = Callable[[Stage, OnnxGraph, Pairs, Collection[str]], "Location | None"]


@dataclass(frozen=True)
class JudgedGraph:
    """A graph with the stages that judge it.

    Attributes:
        graph: The graph.
        stages: The stages on the CPU.
        is_given: False for one of a lower precision that was made of the model's own.
        on_levels: It has the levels of the module that it is held against.
        itself: The file that it is a copy of, if runtimes are judged on that very file.
    """

    graph: OnnxGraph
    stages: tuple[Stage, ...]
    is_given: bool = True
    on_levels: bool = False
    itself: Path | None = None

    def run_by(self, stage: Stage) -> Path:
        """Return the file that the stage runs: a copy only if the kernels of its precision are written into it."""
        return self.graph.path if self.itself is None or options_of(stage)["kernels"] != "own" else self.itself


def judged_graphs(
    model: ModelGraph, lowered: Mapping[str, OnnxGraph], exported: str, *, on_levels: bool
) -> list[JudgedGraph]:
    """Return every graph of a model with its stages: as it was exported, as it is deployed, and those below it.

    Args:
        model: The graph in the model's own precision.
        lowered: Those of lower precisions that were made of it.
        exported: The runtime of the stage that judges the graph as it was exported.
        on_levels: The model has 8-bit levels of its own.
    """
    graph, own, itself = model.graph, model.graph.precision, model.itself
    is_another = graph.path != model.exported.path
    first, *production = given_stages(exported, own)
    deployed = given_stages(WRITTEN, own) if is_another else tuple(production)
    of_copy = is_another or bool(model.why_not_simplified)  # what is deployed has a stage: the last
    given = [
        (model.exported, (first,), itself if deployed or not of_copy else None),
        (graph, deployed, None if of_copy else itself),
    ]
    return [
        *(JudgedGraph(one, stages, on_levels=on_levels, itself=file) for one, stages, file in given if stages),
        *(JudgedGraph(one, lower_stages(name), False, on_levels) for name, one in lowered.items()),
    ]


class GraphStages:
    """The stages of graphs, judged case by case while the truth is computed, so that no reference is kept.

    Entered, it starts the processes of the stages that are ``expected``, which get ready while PyTorch traces; ``open``
    gives them the graphs. ``max_error`` replaces the budgets of the precisions, and ``answer_seconds`` is the time
    limit of loading and of every run. ``seconds`` is the time that judging took so far.
    """

    def __init__(
        self, max_error: float | None, expected: Iterable[Stage] = (), *, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._max_error, self._expected, self._answer_seconds = max_error, expected, answer_seconds
        self._processes: list[tuple[Stage, IsolatedRuntime]] = []
        self._graphs: dict[Stage, JudgedGraph] = {}
        self._judges: dict[Stage, StageJudge] = {}
        self._movement = Movement()
        self.seconds = 0.0

    def __enter__(self) -> GraphStages:
        self._processes = [(stage, start(stage)) for stage in self._expected]
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._processes)

    def open(self, graphs: Sequence[JudgedGraph]) -> None:
        """Let the runtimes load these graphs. Called again, it begins a new verdict."""
        if self._judges:  # each process loads one model
            _end(self._processes)
        waiting, self._processes = self._processes, []
        self._graphs = {stage: one for one in graphs for stage in one.stages}
        self._movement = Movement()
        try:
            self._judges = {stage: self._judge(stage, one, waiting) for stage, one in self._graphs.items()}
        finally:
            _end(waiting)

    def _judge(self, stage: Stage, judged: JudgedGraph, waiting: list[tuple[Stage, IsolatedRuntime]]) -> StageJudge:
        """Return the judge of a stage, in a process that waits for a stage of this kind, else in a new one."""
        graph, alike = judged.graph, options_of(stage)
        fitting = [one for one in waiting if options_of(one[0]) == alike]
        if fitting:
            waiting.remove(fitting[0])
            runtime = fitting[0][1]
            runtime.open(judged.run_by(stage))
        else:
            runtime = start(stage, judged.run_by(stage))
        self._processes.append((stage, runtime))
        runtime.seconds = self._answer_seconds
        on_levels = judged.on_levels and not is_optimised(stage)
        return StageJudge(stage, runtime, self._max_error, graph.outputs, io=graph.io, on_levels=on_levels)

    def watch(self, pairs: Iterable[tuple[Case, Reference | Exception]]) -> Iterator[tuple[Case, Reference]]:
        """Judge every stage on each case, and pass on those that have a truth."""
        for case, reference in pairs:
            since = time.perf_counter()
            for judge in self._judges.values():
                if isinstance(reference, Exception):
                    judge.add_without_truth(case, one_line(reference, None))
                else:
                    judge.add(case, reference)
            if not isinstance(reference, Exception):
                self._movement.add(case, reference)
            self.seconds += time.perf_counter() - since
            if not isinstance(reference, Exception):
                yield case, reference

    def results(self, pairs: Pairs, own_choices: Callable[[], OwnChoices], locate: Locate) -> list[StageResult]:
        """Every stage's result, the first wrong one of float32 with its place, and the rows of a batch in production.

        Args:
            pairs: The cases that were recorded with their truth.
            own_choices: Judges a stage that failed again; it is called for the first of them.
            locate: Finds where a graph goes wrong.
        """
        since = time.perf_counter()
        results: list[StageResult] = []
        for stage, judge in self._judges.items():
            graph = self._graphs[stage].graph
            result = judge.judged_again(judge.result(), graph.path, own_choices)
            # of a graph that was made of another one here, the stages of that one name the place
            is_first = not any(earlier.status == FAILED for earlier in results)
            if is_first and (stage.precision == FP32 or self._graphs[stage].is_given):
                result = with_place(result, functools.partial(locate, stage, graph, pairs))
            results.append(result)
        given = [judge for stage, judge in self._judges.items() if self._graphs[stage].is_given]
        rows = given[-1].rows(pairs()) if given else []
        self.seconds += time.perf_counter() - since
        return [*results, *rows]

    def still(self) -> list[str]:
        """Return one sentence for every output whose errors, or what varies in it, would hardly show."""
        slices = next((judge.slices for judge in self._judges.values()), Slices())
        return [*slices.still(), *self._movement.sentences(slices.without_variation())]


def _end(processes: list[tuple[Stage, IsolatedRuntime]]) -> None:
    while processes:
        processes.pop()[1].__exit__(None, None, None)


def locate_module(module: nn.Module, cases: Sequence[Case]) -> Locate:
    """Return what finds the module of PyTorch at which a graph of it goes wrong."""
    known = {case.name: case for case in cases}

    def find(stage: Stage, graph: OnnxGraph, _pairs: Pairs, names: Collection[str]) -> Location | None:
        from ..localize import locate

        if stage.precision != FP32:  # everything is off there
            return None
        case = min((known[name] for name in names), key=_size)
        opener = functools.partial(start, stage)
        return locate(module, graph, case, optimise=is_optimised(stage), opener=opener)

    return find


def locate_node(exported: Path, module: nn.Module | None) -> Locate:
    """Return what finds the node at which a graph of a file goes wrong.

    ``exported`` is the file's own graph, whose float64 any other of its graphs must compute; ``module`` is that of
    PyTorch, if its float64 is the truth and it has no levels. Below float32 no node is named, but a module whose output
    the graph does not hold.
    """

    def find(stage: Stage, graph: OnnxGraph, pairs: Pairs, names: Collection[str]) -> Location | None:
        from ..localize import between_runtimes

        failing = [(case, reference) for case, reference in pairs() if case.name in names]
        if not failing:  # they have no truth, or took too much room to be recorded
            return None
        case, reference = min(failing, key=lambda pair: _size(pair[0]))
        if stage.precision != FP32:
            precision = PRECISIONS[stage.precision]
            return None if module is None else between_runtimes.locate_module_lost(graph.path, precision, case, module)
        made_of = None if graph.path == exported else exported
        opener = functools.partial(start, stage)
        return between_runtimes.locate_node(graph.path, opener, case, reference, made_of=made_of, module=module)

    return find


def _size(case: Case) -> int:
    return math.prod(case.sizes.values())
