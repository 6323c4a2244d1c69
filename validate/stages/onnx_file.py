"""The stages of an ONNX file that something else wrote: each graph in ONNX Runtime, beside the truth case by case."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.graph_io import FLOAT32
from ...core.precision import FP32
from ...core.tensor_spec import TensorSpec
from ...errors import one_line
from ..cases import Case
from ..localize.between_runtimes import locate_node
from ..localize.location import Location
from ..metrics import Reference
from ..verdict import StageResult
from .judge import Pairs, StageJudge, with_place
from .ort_process import is_optimised, start
from .stage import Stage

if TYPE_CHECKING:
    from torch import nn

    from ..own_choices import OwnChoices


@dataclass(frozen=True)
class JudgedGraph:
    """A graph with the stages that judge it.

    Attributes:
        path: Its file.
        stages: The stages on the CPU.
        declared: The outputs that it declares.
        is_given: False for one of a lower precision that was made of the file.
        made_of: The graph whose float64 it must compute, if that is another one.
        io: The type in which it takes and gives what is float32 in a case.
        on_levels: It has the levels of the module that it is held against.
    """

    path: Path
    stages: tuple[Stage, ...]
    declared: Sequence[TensorSpec]
    is_given: bool = True
    made_of: Path | None = None
    io: str = FLOAT32
    on_levels: bool = False


class FileStages:
    """The runtimes of every graph, judged case by case while the truth is computed. Use it in a ``with`` statement.

    ``seconds`` is the time limit of loading and of every run, ``max_error`` replaces the budgets of the precisions.
    ``module`` is PyTorch's, if its float64 is the truth.
    """

    def __init__(
        self,
        graphs: Sequence[JudgedGraph],
        max_error: float | None,
        seconds: float,
        module: nn.Module | None = None,
    ) -> None:
        self._seconds, self._module = seconds, module
        self._graphs = {stage: graph for graph in graphs for stage in graph.stages}
        self._max_error = max_error
        self._judges: dict[Stage, StageJudge] = {}

    def __enter__(self) -> FileStages:
        self._stack = ExitStack()
        for stage, graph in self._graphs.items():
            runtime = self._stack.enter_context(start(stage, graph.path))
            runtime.seconds = self._seconds
            on_levels = graph.on_levels and not is_optimised(stage)
            self._judges[stage] = StageJudge(
                stage, runtime, self._max_error, graph.declared, io=graph.io, on_levels=on_levels
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def watch(self, pairs: Iterable[tuple[Case, Reference | Exception]]) -> Iterator[tuple[Case, Reference]]:
        """Judge every stage on each case, and pass on those that have a truth."""
        for case, reference in pairs:
            for judge in self._judges.values():
                if isinstance(reference, Exception):
                    judge.add_without_truth(case, one_line(reference, None))
                else:
                    judge.add(case, reference)
            if not isinstance(reference, Exception):
                yield case, reference

    def results(self, pairs: Pairs, own_choices: Callable[[], OwnChoices] | None = None) -> list[StageResult]:
        """Every stage's result, the first wrong one of float32 with its node, and the rows of a batch in production.

        ``pairs`` are the cases that were recorded with their truth. A stage that failed is judged again by
        ``own_choices``, which is called for the first of them.
        """
        results: list[StageResult] = []
        for stage, judge in self._judges.items():
            result = judge.judged_again(judge.result(), self._graphs[stage].path, own_choices)
            # a nudge of the inputs stands for roundings of float32 alone: below it, every node would be wrong
            if stage.precision == FP32 and not any(earlier.status == "failed" for earlier in results):
                result = with_place(result, functools.partial(self._locate, stage, pairs))
            results.append(result)
        given = [judge for stage, judge in self._judges.items() if self._graphs[stage].is_given]
        rows = given[-1].rows(pairs()) if given else []
        return [*results, *rows]

    def still(self) -> list[str]:
        """Return one sentence for every output whose errors or whose variation would hardly show."""
        return next((judge.slices.still() for judge in self._judges.values()), [])

    def _locate(self, stage: Stage, pairs: Pairs, names: Collection[str]) -> Location | None:
        failing = [(case, reference) for case, reference in pairs() if case.name in names]
        if not failing:  # they have no truth, or took too much room to be recorded
            return None
        case, reference = min(failing, key=lambda pair: math.prod(pair[0].sizes.values()))
        graph, opener = self._graphs[stage], functools.partial(start, stage)
        return locate_node(graph.path, opener, case, reference, made_of=graph.made_of, module=self._module)
