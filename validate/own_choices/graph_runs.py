"""Runs of a graph whose choices are given, by ONNX's reference evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..cases import Case
from ..choice import Choice, can_be_given
from ..floors import MORE_DRAWS
from ..metrics import GRAPH
from ..onnx_reference.isolated import IsolatedEvaluator
from ..onnx_reference.references import DRAWS, GraphLower
from ..onnx_reference.run_options import EXACT, RunOptions
from .pairing import NotComparable
from .runs import GivenChoices, Outputs


@dataclass(frozen=True)
class GraphRuns:
    """Runs a graph with given choices.

    Args:
        double: The evaluator in float64.
        single: The evaluator in float32.
        seed: Draws the nudges that find out what rounding decides.
        lower: The precisions below float32 whose floors may be asked for.
        lowered_graph: The evaluator in float32 of the graph whose nodes the roundings name; ``single`` if it is that.
        rounds: The truth has the levels of the graph's quantisers; else the fractions between them.
    """

    double: IsolatedEvaluator
    single: IsolatedEvaluator
    seed: int = 0
    lower: Sequence[GraphLower] = ()
    lowered_graph: IsolatedEvaluator | None = None
    rounds: bool = False
    _lines: dict[str, list[str]] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Whose float64 the truth is."""
        return GRAPH

    @property
    def levels_source(self) -> str:
        """Whose levels those of a graph are counted beside: those of PyTorch are recorded nowhere."""
        return GRAPH

    def choices(self, case: Case) -> list[Choice]:
        """Return the graph's own choices among places and levels, in float64 and in their order."""
        self.double.run(case.feeds, RunOptions(rounds=self.rounds), notes_choices=True)
        found = [choice for choice in self.double.choices if can_be_given(choice)]
        self._lines[case.name] = [choice.line for choice in found]
        return found

    def truth(self, case: Case, given: GivenChoices) -> tuple[Outputs, float]:
        """Return the outputs in float64, and the largest magnitude on the way to them."""
        outputs = self._run(self.double, case, given)
        return outputs, self.double.largest

    def rounded(self, case: Case, given: GivenChoices) -> Iterator[Outputs]:
        """Yield the outputs of several runs in float32."""
        for how in DRAWS:
            yield self._run(self.single, case, given, how)

    def drawn(self, case: Case, given: GivenChoices) -> Iterator[Outputs]:
        """Yield those of more runs."""
        for draw in MORE_DRAWS:
            yield self._run(self.single, case, given, RunOptions(draw=draw))

    def lowered(self, case: Case, given: GivenChoices, precision: str) -> Iterator[Outputs]:
        """Yield the outputs of several runs of a precision below float32."""
        lower = next((one for one in self.lower if one.precision == precision), None)
        if lower is None:
            raise NotComparable(f"what {precision} loses was not measured")
        evaluator = self.single if lower.rounding is None else self.lowered_graph or self.single
        for how in lower.draws:
            yield self._run(evaluator, case, given, how)

    def _run(
        self, evaluator: IsolatedEvaluator, case: Case, given: GivenChoices, options: RunOptions = EXACT
    ) -> Outputs:
        lines = self._lines[case.name]
        places = {lines[number]: value for number, value in given.places.items()}
        kept = [lines[number] for number in given.names]
        outputs = evaluator.run(case.feeds, replace(options, rounds=self.rounds), given=places, kept=kept)
        scores = {choice.line: choice.scores for choice in evaluator.choices}
        if not places.keys() <= scores.keys():
            raise NotComparable("a run of the graph made other choices")
        return outputs | {name: np.asarray(scores[lines[number]]) for number, name in given.names.items()}
