"""A stage judged with the choices that its graph made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...core.graph_io import FLOAT32, fed
from ...core.precision import PRECISIONS, Precision
from ...core.tensor_spec import TensorSpec
from ...errors import Attn2trtError, Interrupted
from ..arrays import Array
from ..case_judgement import Run, judge_case
from ..cases import Case
from ..choice import Choice
from ..comparison import CHOICE, Comparison
from ..metrics import Reference, over
from ..slices import ORDINARY, Slices
from ..stages.ort_process import start
from ..stages.stage import Stage
from ..verdict import FAILED, INTERRUPTED, OWN_PICKS, StageResult, stage_result
from .definition import wrong_picks
from .graph_choices import Picked, ShownGraph, shown_choices
from .pairing import NotComparable, paired
from .runs import GivenChoices, GivenReferences, Runs

# Failures that no choice explains.
NOT_BY_CHOICE = frozenset({"raised", "shape", "dtype", "missing", INTERRUPTED})


@dataclass
class Picks:
    """The picks of a graph over all cases: how many are others than the truth's own, and what their scores can tell.

    Attributes:
        source: Whose float64 the truth is.
        other: The number of picks that are others.
        count: The number of picks.
        spread: For the name of a choice's scores, the most by which they vary, in errors that pass.
    """

    source: str
    other: int = 0
    count: int = 0
    spread: dict[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The note of a stage."""
        return f"{OWN_PICKS}, {self.other} of {self.count} of which are others than {self.source}'s in float64"

    def add(self, name: str, choice: Choice, places: Array, reference: Reference, precision: Precision) -> None:
        """Count a choice whose scores stand under this name among the outputs."""
        assert choice.picked is not None
        self.other += int((places.reshape(-1) != choice.picked.reshape(-1)).sum())
        self.count += choice.picked.size
        scores, floor = reference.outputs64[name], reference.at(precision).floors[name]
        scores = np.where(np.isfinite(scores), scores, 0.0)
        varies = math.sqrt(float(scores.var(axis=choice.dim).mean())) if scores.size else 0.0
        passes = precision.limit * max(floor.l2, precision.unit_roundoff) * math.sqrt(float(np.square(scores).mean()))
        self.spread[name] = max(self.spread.get(name, 0.0), over(varies, passes))

    def require_spread(self, precision: Precision) -> None:
        """Raise NotComparable if the scores of a choice vary less than the error that passes: any others would pass."""
        narrow = [name for name, most in self.spread.items() if most < 1]
        if narrow:
            raise NotComparable(
                f"{narrow[0]} vary less than {precision.words} may round them, so that any choice by them would pass"
            )


@dataclass
class OwnChoices:
    """Judges stages that failed once more, the truth and the floors computed with the choices of each graph.

    Args:
        runs: What computes them.
        cases: The inputs.
        max_error: Replaces the precision's budget.
    """

    runs: Runs
    cases: Sequence[Case]
    max_error: float | None = None
    _choices: dict[str, list[Choice]] = field(default_factory=dict)

    def judged(
        self, result: StageResult, graph: Path, run: Run, *, declared: Sequence[TensorSpec] = (), io: str = FLOAT32
    ) -> StageResult:
        """Return the result of a stage with the choices of its graph; the same if that says nothing more.

        Args:
            result: What was found.
            graph: The graph's file.
            run: The runtime that was judged; the graph with its choices shown must give the same numbers, bit for bit.
            declared: The graph's outputs.
            io: The type in which it takes and gives what is float32 in a case.
        """
        wrong = {found.which for _, found in result.comparisons if not found.passed}
        if result.status != FAILED or not wrong or wrong & NOT_BY_CHOICE:
            return result
        try:
            with shown_choices(graph) as shown:
                return result if shown is None else self._judged(result.stage, shown, run, declared, io)
        except Interrupted:
            return result
        except Attn2trtError as error:
            return replace(result, why=f"{result.why}; with the graph's own choices nothing was judged: {error}")

    def _judged(
        self, stage: Stage, shown: ShownGraph, run: Run, declared: Sequence[TensorSpec], io: str
    ) -> StageResult:
        precision, slices, picks = PRECISIONS[stage.precision], Slices(self.runs.source), Picks(self.runs.source)
        found: list[tuple[str, Comparison]] = []
        allowed: dict[str, Any] = {"max_error": self.max_error, "declared": declared, "precision": precision}
        with start(stage, shown.path) as runtime:
            runtime.load()
            for case in self.cases:
                if case.is_for(io):
                    outputs, picked = _both(shown, run, runtime.run, case, io)
                    pairs = paired(picked, self._choices_of(case))
                    reference = self._reference(case, pairs, precision.name)
                    found += self._checked(case, pairs, picks, reference, precision)
                    answer = _Answer(outputs | self._scores(case, pairs))
                    found += judge_case(answer, case, reference, slices=slices, io=io, **allowed)
        found += [(ORDINARY, one) for one in slices.lost(precision)]
        result = stage_result(stage, found, picks.words, unchecked=slices.never_compared())
        if not result.has_own_picks:
            return replace(result, why=f"{result.why}; {picks.words}")
        picks.require_spread(precision)
        return result

    def _checked(
        self, case: Case, pairs: Mapping[int, Picked], picks: Picks, reference: Reference, precision: Precision
    ) -> Iterator[tuple[str, Comparison]]:
        """Count every choice, and yield one failed comparison for each that is not what it must be."""
        names, choices = self._names(case, pairs), self._choices_of(case)
        for number, one in pairs.items():
            picks.add(names[number], choices[number], one.places, reference, precision)
            if why := wrong_picks(choices[number], one.scores, one.places):
                detail = f"{one.node.operator} {one.node.places}: {why}"
                wrong = Comparison(names[number], math.inf, 0.0, math.inf, CHOICE, (), False, detail)
                yield case.name, replace(wrong, sizes=tuple(case.sizes.items()))

    def _choices_of(self, case: Case) -> list[Choice]:
        if case.name not in self._choices:
            self._choices[case.name] = self.runs.choices(case)
        return self._choices[case.name]

    def _names(self, case: Case, numbers: Iterable[int]) -> dict[int, str]:
        """The names of the scores among the outputs, each another one."""
        choices = self._choices_of(case)
        return {
            number: f"scores of {choices[number].operator} {number + 1}"
            + (f" at {choices[number].line}" if choices[number].line else "")
            for number in numbers
        }

    def _scores(self, case: Case, pairs: Mapping[int, Picked]) -> dict[str, Array]:
        names, choices = self._names(case, pairs), self._choices_of(case)
        return {
            names[number]: one.scores.astype(np.float64).reshape(choices[number].scores.shape)
            for number, one in pairs.items()
        }

    def _reference(self, case: Case, pairs: Mapping[int, Picked], precision: str) -> Reference:
        """The truth and the floors with the picks of a graph."""
        places = {number: one.places.astype(np.int64) for number, one in pairs.items()}
        return self._references.reference(case, GivenChoices(places, self._names(case, pairs)), precision)

    @cached_property
    def _references(self) -> GivenReferences:
        return GivenReferences(self.runs)


@dataclass(frozen=True)
class _Answer:
    """Outputs that were computed already."""

    outputs: Mapping[str, Array]

    def __call__(self, _: Mapping[str, Array]) -> Mapping[str, Array]:
        return self.outputs


def _both(shown: ShownGraph, run: Run, run_shown: Run, case: Case, io: str) -> tuple[dict[str, Array], list[Picked]]:
    """Return the outputs of the graph, and its choices.

    Raises NotComparable if it gives other numbers with its choices shown: then those are not the choices it made.
    """
    feeds = fed(case.feeds, io)
    outputs, found = dict(run(feeds)), run_shown(feeds)
    missing = {*outputs, *(name for node in shown.nodes for name in (node.scores, node.places))} - {*found, *feeds}
    if missing:
        raise NotComparable(f"the runtime does not show {min(missing)}")
    if not all(np.array_equal(out, found[name], equal_nan=out.dtype.kind == "f") for name, out in outputs.items()):
        raise NotComparable("with its choices shown the graph gives other numbers")
    return outputs, shown.picked(feeds, found)
