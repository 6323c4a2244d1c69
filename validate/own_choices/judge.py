"""A stage judged with the choices that its graph made."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from ..comparison import Comparison
from ..slices import ORDINARY, Slices
from ..stages.ort_process import start
from ..stages.stage import Stage
from ..verdict import FAILED, INTERRUPTED, OWN_LEVELS, OWN_PICKS, StageResult, stage_result
from .case_choices import CaseChoices
from .graph_choices import Picked, ShownGraph, shown_choices
from .pairing import NotComparable
from .picks import Picks
from .runs import GivenReferences, Runs

NO_LEVELS = "the module has quantisers, and the graph none whose levels could be compared with theirs"
# Failures that no choice explains.
NOT_BY_CHOICE = frozenset({"raised", "shape", "dtype", "missing", INTERRUPTED})


@dataclass(frozen=True)
class _Asked:
    """A stage to judge again.

    Attributes:
        stage: The stage.
        precision: The one whose floors and limits it is held to: on levels, the one between them.
        declared: The graph's outputs.
        io: The type in which it takes and gives what is float32 in a case.
    """

    stage: Stage
    precision: Precision
    declared: Sequence[TensorSpec]
    io: str

    @property
    def on_levels(self) -> bool:
        """True if it is judged on its levels."""
        return self.precision.name != self.stage.precision


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
        asked = _Asked(result.stage, PRECISIONS[precision.rest] if on_levels else precision, declared, io)
        try:
            with shown_choices(graph) as shown:
                if shown is not None and (on_levels or shown.picks_places):  # levels alone are what 8 bits lose
                    return self._judged(asked, shown, run)
        except Interrupted as error:
            return replace(result, status=FAILED, why=str(error), was_interrupted=True) if on_levels else result
        except Attn2trtError as error:
            why = f"with the graph's own choices nothing was judged: {error}"
            return replace(result, status=FAILED, why="; ".join(filter(None, [result.why, why])))
        return replace(result, status=FAILED, why=NO_LEVELS) if on_levels else result

    def _judged(self, asked: _Asked, shown: ShownGraph, run: Run) -> StageResult:
        cases = [case for case in self.cases if case.is_for(asked.io)]
        with start(asked.stage, shown.path) as runtime:
            runtime.load()

            def both(case: Case) -> tuple[dict[str, Array], list[Picked]]:
                return _both(shown, run, runtime.run, case, asked.io)

            if not asked.on_levels:
                return self._compared(asked, cases, both)
            # on levels all between them is compared; a simplified graph often gives the very same numbers
            if self._passed and (known := self._passed.get(_digest(map(both, cases)))) is not None:
                return replace(known, stage=asked.stage)
            digest = hashlib.sha256()

            def noted(case: Case) -> tuple[dict[str, Array], list[Picked]]:
                outputs, picked = both(case)
                _add(digest, outputs, picked)
                return outputs, picked

            result = self._compared(asked, cases, noted)
            if result.has_passed:
                self._passed[digest.hexdigest()] = result
            return result

    def _compared(
        self, asked: _Asked, cases: Sequence[Case], both: Callable[[Case], tuple[dict[str, Array], list[Picked]]]
    ) -> StageResult:
        slices = Slices(self.runs.source)
        picks = Picks({OWN_PICKS: self.runs.source, OWN_LEVELS: self.runs.levels_source})
        found: list[tuple[str, Comparison]] = []
        precision = asked.precision
        # a budget of the user's is for the precision of the stage: it loosens nothing between levels
        loosens = asked.on_levels and (self.max_error or math.inf) >= precision.budget
        allowed: dict[str, Any] = {"max_error": None if loosens else self.max_error, "declared": asked.declared}
        constants: dict[str, Array] = {}
        for case in cases:
            outputs, picked = both(case)
            made = CaseChoices.of(case, self._choices_of(case), picked, precision, constants)
            slices.steps |= made.steps
            reference = self._references.reference(case, made.given(precision.name), precision.name)
            made.count(picks, reference, precision)
            found += [(case.name, one) for one in made.wrong(reference)]
            answer = _Answer(outputs | made.scores(reference))
            found += judge_case(answer, case, reference, slices=slices, io=asked.io, precision=precision, **allowed)
        found += [(ORDINARY, one) for one in slices.lost(precision)]
        result = stage_result(asked.stage, found, picks.words, unchecked=slices.never_compared())
        if not result.has_own_picks:
            return replace(result, why="; ".join(filter(None, [result.why, picks.words])))
        picks.require_spread(precision)
        return result

    def _choices_of(self, case: Case) -> list[Choice]:
        if case.name not in self._choices:
            self._choices = {case.name: self.runs.choices(case)}  # of one case: levels are as many as activations
        return self._choices[case.name]

    @cached_property
    def _references(self) -> GivenReferences:
        return GivenReferences(self.runs)


@dataclass(frozen=True)
class _Answer:
    """A runtime that answers with outputs computed before."""

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
