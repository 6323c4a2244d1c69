"""Outputs of a few numbers in few bits, whose floors on one input are one draw and may be lucky ones.

What rounding to levels takes from an output is no more than a number or two if the output has no more, as the logits of
two classes: by chance some input loses a tenth of what the others do. Two runs whose float32 differs in its last digits
have the same levels nearly everywhere, so that more draws of one input tell nothing new. Other inputs do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.precision import QUANTISED, Precision
from .arrays import Array
from .case_judgement import judge_case
from .case_values import STRESS_KINDS
from .cases import Case
from .comparison import WAYS, Comparison
from .metrics import Floor, Reference

FEW = 16
Found = tuple[str, Comparison]


def are_few(truth: Array, precision: Precision) -> bool:
    """Return whether an output's limit is of all cases, since its own case may have lost less by chance."""
    return precision.name in QUANTISED and truth.size <= FEW


class FewNumbers:
    """The outputs of few numbers of one stage, with what they lose in each case."""

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._floors: dict[str, list[Floor]] = {}
        self._failed: dict[tuple[str, str], tuple[Case, Reference, Array]] = {}

    def add(self, case: Case, reference: Reference, outputs: Mapping[str, Array], found: Iterable[Found]) -> None:
        """Note the floors of a case's outputs, and those outputs that fail by them."""
        failed = {one.output for _, one in found if not one.passed and one.which in WAYS}
        for name, floor in reference.at(self._precision).floors.items():
            if not floor.is_finite or not are_few(reference.outputs64[name], self._precision):
                continue
            if case.kind not in STRESS_KINDS:
                self._floors.setdefault(name, []).append(floor)
            if name in failed:
                self._failed[case.name, name] = case, self._only(reference, name), np.array(outputs[name])

    def again(self, found: Iterable[Found], *, max_error: float | None, io: str) -> list[Found]:
        """Return the comparisons, those that failed made again with floors of no lucky draw.

        Args:
            found: The comparisons, with their cases' names.
            max_error: Replaces the precision's budget.
            io: The type in which the graph takes and gives what is float32 in a case.
        """
        return [self._again(case, one, max_error, io) for case, one in found]

    def _again(self, case: str, found: Comparison, max_error: float | None, io: str) -> Found:
        kept = self._failed.get((case, found.output))
        if found.passed or kept is None or not (floors := self._floors.get(found.output)):
            return case, found
        given, reference, output = kept
        own = reference.lower[self._precision.name][found.output]
        raised = {self._precision.name: {found.output: own.or_larger(_median(floors))}}
        outputs = {found.output: output}
        allowed: dict[str, Any] = {"max_error": max_error, "precision": self._precision, "io": io}
        (again,) = judge_case(lambda _: outputs, given, replace(reference, lower=raised), **allowed)
        return again

    def _only(self, reference: Reference, name: str) -> Reference:
        """Return a reference of one output and precision, which keeps nothing else in memory."""
        return replace(
            reference,
            outputs64={name: reference.outputs64[name]},
            outputs32={name: reference.outputs32[name]},
            floors={name: reference.floors[name]},
            lower={self._precision.name: {name: reference.lower[self._precision.name][name]}},
            moments={},
            run=None,
        )


def _median(floors: Sequence[Floor]) -> Floor:
    """Return the median of the floors, part by part; of slices among those that have the ones of the first."""
    alike = [floor.channel for floor in floors if floor.channel.shape == floors[0].channel.shape]
    channel = np.median(np.array(alike), axis=0)
    return Floor(float(np.median([f.l2 for f in floors])), float(np.median([f.max for f in floors])), channel)
