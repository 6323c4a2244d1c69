"""Judge one stage: wait for its runtime or say why it did not load, compare every case, then the rows of a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...core.graph_io import FLOAT32, fed
from ...core.precision import FP32, PRECISIONS, Precision, require_budget
from ...core.tensor_spec import TensorSpec
from ...errors import CheckFailed, Interrupted, MissingRequirement, typed_line
from ..batch_consistency import compare_rows
from ..case_judgement import Run, did_not_run, judge_case
from ..cases import Case
from ..comparison import CHOICE, NOTHING, OVERFLOW, Comparison
from ..few_numbers import FewNumbers
from ..metrics import Reference
from ..slices import ORDINARY, VARIATION, Slices
from ..verdict import FAILED, StageResult, not_checked, stage_result
from .ort_process import AS_WRITTEN
from .stage import ORT_CPU, ORT_CUDA, ORT_TENSORRT, ROWS, Stage

if TYPE_CHECKING:
    from ..localize import Location
    from ..own_choices import OwnChoices

Pairs = Callable[[], Iterator[tuple[Case, Reference]]]
# Failures of a whole: no single case and no place in the graph shows them.
_NOWHERE = frozenset({"budget", "floor", NOTHING, VARIATION, CHOICE})
_BELOW_FLOAT32 = "the place of an error is found in float32 alone: check the same model exported in float32"
KEEP = "--keep-fp32 MODULE keeps a module in float32"
KEEP_NODE = "--keep-fp32 NODE keeps a node in float32"
_PROVIDERS = {**dict.fromkeys((ORT_CPU, *AS_WRITTEN), "CPU"), ORT_CUDA: "CUDA", ORT_TENSORRT: "TensorRT"}


class Runtime(Protocol):
    """A model that loads beside the caller: ``load`` waits for it, and raises the reason if it does not."""

    def load(self) -> Any: ...
    def run(self, feeds: Any) -> Mapping[str, Any]: ...


@dataclass
class StageJudge:
    """One stage and its runtime, judged case by case; ``results`` does it all at once.

    Args:
        stage: The stage; its precision gives floors and allowances.
        runtime: The runtime, not waited for so far.
        max_error: Replaces the precision's budget.
        declared: The graph's outputs, whose shapes PyTorch's must have.
        is_here: The runtime was found to work, so that a graph for which it lacks something has failed.
        without_cases: The reason if no case is given.
        io: The type in which the graph takes and gives what is float32 in a case.
        on_levels: The graph has the levels of its module, and is compared with that on the levels that it gives.
    """

    stage: Stage
    runtime: Runtime
    max_error: float | None = None
    declared: Sequence[TensorSpec] = ()
    is_here: bool = False
    without_cases: str = "no case was given"
    io: str = FLOAT32
    on_levels: bool = False
    slices: Slices = field(default_factory=Slices)
    _found: list[tuple[str, Comparison]] = field(default_factory=list)
    _refused: StageResult | None = None
    _without_truth: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_budget(self.max_error)
        self._few = FewNumbers(self.allowed)

    @property
    def allowed(self) -> Precision:
        """Floors and allowances."""
        return PRECISIONS[self.stage.precision]

    def load(self) -> bool:
        """Wait for the runtime; returns False if the stage is settled without it."""
        if self._refused is None:
            try:
                self.runtime.load()
            except (CheckFailed, MissingRequirement) as error:
                self._refused = not_loaded(self.stage, error, is_here=self.is_here)
        return self._refused is None

    def add(self, case: Case, reference: Reference) -> None:
        """Compare a case, if it is for the graph, the runtime loaded and the floors of the precision were measured."""
        if not case.is_for(self.io):
            return
        if lost := reference.why_unmeasured(self.allowed):
            self.add_without_truth(case, lost)
        elif self.load():
            outputs: dict[str, Any] = {}

            def run(feeds: Mapping[str, Any]) -> Mapping[str, Any]:
                outputs.update(self.runtime.run(feeds))
                return outputs

            found = judge_case(
                run,
                case,
                reference,
                max_error=self.max_error,
                declared=self.declared,
                precision=self.allowed,
                slices=self.slices,
                io=self.io,
            )
            self._few.add(case, reference, outputs, found)
            self._found += found

    def add_without_truth(self, case: Case, why: str) -> None:
        """Run a case that nothing can be compared with: one that does not run either has failed."""
        if not case.is_for(self.io) or not self.load():
            return
        try:
            self.runtime.run(fed(case.feeds, self.io))
        except Exception as error:
            sizes, name = tuple(case.sizes.items()), self.declared[0].name if self.declared else ""
            self._found.append((case.name, replace(did_not_run(name, error), sizes=sizes)))
        else:
            self._without_truth.setdefault(why, []).append(case.name)

    def result(self) -> StageResult:
        """Return the outcome of what was compared, and of what the slices did over all cases."""
        if not self.load():
            assert self._refused is not None
            return self._refused
        without = [
            f"{why} (case{'s' * (len(names) > 1)} {', '.join(names)})" for why, names in self._without_truth.items()
        ]
        if not self._found:
            return not_checked(self.stage, "; ".join(without) or self.without_cases)
        found = self._few.again(self._found, max_error=self.max_error, io=self.io)
        lost = [(ORDINARY, one) for one in self.slices.lost(self.allowed)]
        unchecked = [*self.slices.never_compared(), *without]
        return stage_result(self.stage, [*found, *lost], self.slices.left_out(), unchecked=unchecked)

    def judged_again(
        self, result: StageResult, graph: Path, own_choices: Callable[[], OwnChoices] | None
    ) -> StageResult:
        """Return the result that the choices of the graph give, if the stage failed or is judged ``on_levels``; else
        the same.

        ``own_choices`` is called for the first such stage; None leaves every result as it is.
        """
        if own_choices is None or not (self.on_levels or result.status == FAILED):
            return result
        return own_choices().judged(
            result, graph, self.runtime.run, declared=self.declared, io=self.io, on_levels=self.on_levels
        )

    def rows(self, pairs: Iterable[tuple[Case, Reference]]) -> list[StageResult]:
        """Compare the rows of a batch: one stage, or none if the runtime did not load."""
        if not self.load():
            return []
        judged = ((case, reference) for case, reference in pairs if case.is_for(self.io))
        return [compare_rows(self._run, judged, replace(self.stage, kind=ROWS))]

    def _run(self, feeds: dict[str, Any]) -> Mapping[str, Any]:
        """Return the outputs for a case's inputs, in the graph's own types."""
        return self.runtime.run(fed(feeds, self.io))

    def results(self, pairs: Pairs) -> list[StageResult]:
        """Judge all cases, then the rows of a batch."""
        (judged,) = judge_stages([self], pairs())
        return [judged, *self.rows(pairs())]


@dataclass(frozen=True)
class Loaded:
    """A runtime that needs no loading."""

    run: Run

    def load(self) -> None:
        """There is nothing to wait for."""


def judge_stages(judges: Sequence[StageJudge], cases: Iterable[tuple[Case, Reference]]) -> list[StageResult]:
    """Return the result of each, after one pass over the cases, so that no reference is kept or redone."""
    if any(judge.load() for judge in judges):
        for case, reference in cases:
            for judge in judges:
                judge.add(case, reference)
    return [judge.result() for judge in judges]


def judge(
    stage: Stage, run: Run, cases: Iterable[tuple[Case, Reference]], *, max_error: float | None = None
) -> StageResult:
    """Run every case and compare every output. No case at all is "not checked"."""
    return judge_stages([StageJudge(stage, Loaded(run), max_error)], cases)[0]


def not_loaded(stage: Stage, error: CheckFailed | MissingRequirement, *, is_here: bool = False) -> StageResult:
    """Return the stage of a graph that could not be loaded: failed if the runtime refuses the graph.

    It is not checked if the runtime is not here, or lacks only kernels, as ONNX Runtime's CPU provider for bfloat16 and
    for newer opsets, which bfloat16 needs.
    """
    if isinstance(error, MissingRequirement) and not is_here:
        return not_checked(stage, str(error))
    missing = re.search(r"NOT_IMPLEMENTED : Could not find an implementation for (\w+)\((\d+)\)", str(error))
    if missing and stage.precision != FP32 and stage.runtime in _PROVIDERS:
        row = PRECISIONS[stage.precision]
        words = "float32" if stage.runtime in AS_WRITTEN and row.kernels == "half" else row.words
        what = f"{words} {missing[1]} (opset {missing[2]})"
        return not_checked(stage, f"ONNX Runtime's {_PROVIDERS[stage.runtime]} provider has no {what}")
    return StageResult(stage, FAILED, str(error), was_interrupted=isinstance(error, Interrupted))


def with_place(result: StageResult, locate: Callable[[Collection[str]], Location | None]) -> StageResult:
    """A stage whose numbers are wrong, with where they become wrong; ``locate`` is given the names of failing cases."""
    wrong = [case for case, found in result.comparisons if not found.passed and found.which not in _NOWHERE]
    if not wrong:
        return result
    try:
        place = locate(wrong)
    except Exception as error:  # the verdict stands whether or not the place is found
        reason = typed_line(error)
        interrupted = result.was_interrupted or isinstance(error, Interrupted)
        why = f"{result.why}; the module to blame was not found ({reason})"
        return replace(result, why=why, was_interrupted=interrupted)
    nowhere = "no single module could be named" if result.stage.precision == FP32 else _BELOW_FLOAT32
    why = f"{result.why}; {place or nowhere}"
    return replace(result, why=why, place=None if place is None else place.place)


def with_advice(result: StageResult, *, of_file: bool = False) -> StageResult:
    """Return the stage of a lower precision; what a user can do about it is added if its numbers failed.

    Of a file's graph nodes can be kept in float32, of a module's modules. A precision of the float32 graph holds for
    the whole of it: nothing can be kept out.
    """
    has_own_graph = PRECISIONS[result.stage.precision].graph != "float32"
    wrong = {found.which for _, found in result.comparisons if not found.passed}
    if result.status != FAILED or not result.comparisons or not has_own_graph or wrong == {OVERFLOW}:
        return result
    return replace(result, why=f"{result.why}; {KEEP_NODE if of_file else KEEP}")
