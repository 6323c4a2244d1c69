"""A stage judged with the choices that its graph made."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...core.graph_io import FLOAT32, fed
from ...core.precision import FLOAT32 as SINGLE
from ...core.precision import FP32, PRECISIONS, Precision
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
from ..verdict import FAILED, INTERRUPTED, OWN_LEVELS, OWN_PICKS, StageResult, stage_result
from .definition import wrong_picks
from .graph_choices import Picked, ShownGraph, shown_choices
from .pairing import NotComparable, paired
from .runs import GivenChoices, GivenReferences, Runs

NO_LEVELS = "the module has quantisers, and the graph none whose levels could be compared with theirs"
# Failures that no choice explains.
NOT_BY_CHOICE = frozenset({"raised", "shape", "dtype", "missing", INTERRUPTED})


@dataclass
class Picks:
    """The picks of a graph over all cases: how many are others than the truth's own, and what their scores can tell.

    Attributes:
        sources: Whose places, and whose levels, in float64 they are counted beside.
        others: The number of picks that are others, for places and for levels.
        counts: The number of picks of each kind.
        spread: For the name of a choice's scores, the most by which they vary, in errors that pass.
    """

    sources: Mapping[str, str]
    others: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    spread: dict[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The note of a stage."""
        return "; ".join(
            f"{kind}, {self.others[kind]} of {count} of which are others than {self.sources[kind]}'s in float64"
            for kind, count in self.counts.items()
        )

    def add(self, name: str, choice: Choice, places: Array, reference: Reference, precision: Precision) -> None:
        """Count a choice whose scores stand under this name among the outputs."""
        assert choice.picked is not None
        kind = OWN_PICKS if choice.grid is None else OWN_LEVELS
        self.others[kind] += int((places.reshape(-1) != choice.picked.reshape(-1)).sum())
        self.counts[kind] += choice.picked.size
        if choice.grid is not None:
            return
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
    _passed: dict[str, StageResult] = field(default_factory=dict)

    def judged(
        self,
        result: StageResult,
        graph: Path,
        run: Run,
        *,
        declared: Sequence[TensorSpec] = (),
        io: str = FLOAT32,
        on_levels: bool = False,
    ) -> StageResult:
        """Return the result of a stage with the choices of its graph; the same if that says nothing more.

        Args:
            result: What was found.
            graph: The graph's file.
            run: The runtime that was judged; the graph with its choices shown must give the same numbers, bit for bit.
            declared: The graph's outputs.
            io: The type in which it takes and gives what is float32 in a case.
            on_levels: Whatever was found, the graph is judged on its levels, within what the precision between
                them allows.
        """
        wrong = {found.which for _, found in result.comparisons if not found.passed}
        if on_levels:
            if not result.comparisons or wrong & NOT_BY_CHOICE:
                return result
        elif result.status != FAILED or not wrong or wrong & NOT_BY_CHOICE:
            return result
        precision = PRECISIONS[result.stage.precision]
        if on_levels:
            precision = PRECISIONS[precision.rest]
        try:
            with shown_choices(graph) as shown:
                if shown is not None:
                    return self._judged(result.stage, precision, shown, run, declared, io)
        except Interrupted as error:
            return replace(result, status=FAILED, why=str(error), was_interrupted=True) if on_levels else result
        except Attn2trtError as error:
            why = f"with the graph's own choices nothing was judged: {error}"
            return replace(result, status=FAILED, why="; ".join(filter(None, [result.why, why])))
        return replace(result, status=FAILED, why=NO_LEVELS) if on_levels else result

    def _judged(
        self,
        stage: Stage,
        precision: Precision,
        shown: ShownGraph,
        run: Run,
        declared: Sequence[TensorSpec],
        io: str,
    ) -> StageResult:
        cases = [case for case in self.cases if case.is_for(io)]
        with start(stage, shown.path) as runtime:
            runtime.load()

            def both(case: Case) -> tuple[dict[str, Array], list[Picked]]:
                return _both(shown, run, runtime.run, case, io)

            if precision.name == stage.precision:
                return self._compared(stage, precision, cases, both, declared, io)
            # on levels all between them is compared; a simplified graph often gives the very same numbers
            if self._passed and (known := self._passed.get(_digest(map(both, cases)))) is not None:
                return replace(known, stage=stage)
            digest = hashlib.sha256()

            def noted(case: Case) -> tuple[dict[str, Array], list[Picked]]:
                outputs, picked = both(case)
                _add(digest, outputs, picked)
                return outputs, picked

            result = self._compared(stage, precision, cases, noted, declared, io)
            if result.has_passed:
                self._passed[digest.hexdigest()] = result
            return result

    def _compared(
        self,
        stage: Stage,
        precision: Precision,
        cases: Sequence[Case],
        both: Callable[[Case], tuple[dict[str, Array], list[Picked]]],
        declared: Sequence[TensorSpec],
        io: str,
    ) -> StageResult:
        slices = Slices(self.runs.source)
        picks = Picks({OWN_PICKS: self.runs.source, OWN_LEVELS: self.runs.levels_source})
        found: list[tuple[str, Comparison]] = []
        # a budget of the user's is for the precision of the stage: it loosens nothing between levels
        loosens = precision.name != stage.precision and (self.max_error or math.inf) >= precision.budget
        budget = None if loosens else self.max_error
        allowed: dict[str, Any] = {"max_error": budget, "declared": declared, "precision": precision}
        constants: dict[str, Array] = {}
        for case in cases:
            outputs, picked = both(case)
            pairs = paired(picked, self._choices_of(case), precision)
            names = self._names(case, pairs, constants)
            slices.steps |= {name: self._step(case, number) for number, name in names.items()}
            reference = self._reference(case, pairs, names, precision.name)
            found += self._checked(case, pairs, names, picks, reference, precision)
            answer = _Answer(outputs | self._scores(case, pairs, names, reference))
            found += judge_case(answer, case, reference, slices=slices, io=io, **allowed)
        found += [(ORDINARY, one) for one in slices.lost(precision)]
        result = stage_result(stage, found, picks.words, unchecked=slices.never_compared())
        if not result.has_own_picks:
            return replace(result, why=f"{result.why}; {picks.words}")
        picks.require_spread(precision)
        return result

    def _checked(
        self,
        case: Case,
        pairs: Mapping[int, Picked],
        names: Mapping[int, str],
        picks: Picks,
        reference: Reference,
        precision: Precision,
    ) -> Iterator[tuple[str, Comparison]]:
        """Count every choice, and yield one failed comparison for each that is not what it must be."""
        choices = self._choices_of(case)
        for number, one in pairs.items():
            choice, name = choices[number], names.get(number, "")
            picks.add(name, choice, one.places, reference, precision)
            if choice.grid is None and (why := _wrong_places(choice, one)):
                detail = f"{one.node.operator} {one.node.places}: {why}"
                yield case.name, replace(_wrong(name, detail), sizes=tuple(case.sizes.items()))
            if name and one.scores is None and not _has_levels_of(choice, one, reference.outputs64[name]):
                yield case.name, _wrong(name, f"{one.node.places} has other levels of the constant than the module")

    def _step(self, case: Case, number: int) -> float:
        """Return the distance between two levels of a quantiser; 0 for a choice among places."""
        grid = self._choices_of(case)[number].grid
        return 0.0 if grid is None else float(grid.step.max())

    def _choices_of(self, case: Case) -> list[Choice]:
        if case.name not in self._choices:
            self._choices = {case.name: self.runs.choices(case)}  # of one case: levels are as many as activations
        return self._choices[case.name]

    def _names(self, case: Case, pairs: Mapping[int, Picked], constants: dict[str, Array]) -> dict[int, str]:
        """The names of the scores among the outputs, each another one, without those of constants compared before.

        ``constants`` gets the levels of those that are compared now.
        """
        choices, found = self._choices_of(case), {}
        for number, one in pairs.items():
            if one.scores is None:
                if np.array_equal(constants.get(one.node.places, np.zeros(0)), one.places):
                    continue
                constants[one.node.places] = one.places
            kind = f"scores of {choices[number].operator}" if choices[number].grid is None else "input of quantiser"
            line = f" at {choices[number].line}" if choices[number].line else ""
            found[number] = f"{kind} {number + 1}{line}"
        return found

    def _scores(
        self, case: Case, pairs: Mapping[int, Picked], names: Mapping[int, str], reference: Reference
    ) -> dict[str, Array]:
        """Return what the choices of the graph read: of a quantiser, moved as far as its levels are not those of that.

        The truth's stands for the constants that a weight's quantiser reads.
        """
        choices = self._choices_of(case)
        found = {}
        for number, name in names.items():
            one, choice = pairs[number], choices[number]
            if choice.grid is not None:
                read = reference.outputs64[name] if one.scores is None else one.scores.astype(np.float64)
                found[name] = choice.grid.nearest(choice.grid.held(read), one.places)
            elif one.scores is not None:
                found[name] = one.scores.astype(np.float64).reshape(choice.scores.shape)
        return found

    def _reference(
        self, case: Case, pairs: Mapping[int, Picked], names: Mapping[int, str], precision: str
    ) -> Reference:
        """The truth and the floors with the picks of a graph.

        In half precision the quantisers of which the graph has none keep the truth's levels: picked anew they would be
        others in every draw, and the floors as large as a level.
        """
        choices = enumerate(self._choices_of(case))
        held = [(number, one.picked) for number, one in choices if one.grid is not None and one.picked is not None]
        places = {} if precision == FP32 else dict(held)
        places |= {
            number: one.places.astype(np.int64) if one.node.steps is None else one.places
            for number, one in pairs.items()
        }
        return self._references.reference(case, GivenChoices(places, names), precision)

    @cached_property
    def _references(self) -> GivenReferences:
        return GivenReferences(self.runs)


def _wrong(name: str, detail: str) -> Comparison:
    return Comparison(name, math.inf, 0.0, math.inf, CHOICE, (), False, detail)


def _has_levels_of(choice: Choice, one: Picked, constant: Array) -> bool:
    """Return True if levels of a constant are the nearest, within float32's rounding whatever stands between them."""
    assert choice.grid is not None
    held = choice.grid.held(constant)
    off = np.abs(choice.grid.nearest(held, one.places) - held)
    return bool((off <= SINGLE.limit * SINGLE.unit_roundoff * np.abs(held).max(initial=0.0)).all())


def _wrong_places(choice: Choice, one: Picked) -> str:
    assert one.scores is not None
    return wrong_picks(choice, one.scores, one.places)


@dataclass(frozen=True)
class _Answer:
    """Outputs that were computed already."""

    outputs: Mapping[str, Array]

    def __call__(self, _: Mapping[str, Array]) -> Mapping[str, Array]:
        return self.outputs


def _digest(runs: Iterable[tuple[Mapping[str, Array], Sequence[Picked]]]) -> str:
    """Return a hash of everything that runs gave and picked: equal for equal names and bits."""
    found = hashlib.sha256()
    for outputs, picked in runs:
        _add(found, outputs, picked)
    return found.hexdigest()


def _add(digest: Any, outputs: Mapping[str, Array], picked: Sequence[Picked]) -> None:
    scores = (one.scores for one in picked if one.scores is not None)
    digest.update(repr([*outputs]).encode())
    for array in (*outputs.values(), *(one.places for one in picked), *scores):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)


def _both(shown: ShownGraph, run: Run, run_shown: Run, case: Case, io: str) -> tuple[dict[str, Array], list[Picked]]:
    """Return the outputs of the graph, and its choices.

    Raises NotComparable if it gives other numbers with its choices shown: then those are not the choices it made.
    """
    feeds = fed(case.feeds, io)
    outputs, found = dict(run(feeds)), run_shown(feeds)
    names = {*outputs, *(name for node in shown.nodes for name in (node.scores, node.places) if name)}
    missing = names - {*found, *feeds}
    if missing:
        raise NotComparable(f"the runtime does not show {min(missing)}")
    if not all(np.array_equal(out, found[name], equal_nan=out.dtype.kind == "f") for name, out in outputs.items()):
        raise NotComparable("with its choices shown the graph gives other numbers")
    return outputs, shown.picked(feeds, found)
