"""Runs of a PyTorch module whose choices are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...errors import ModuleRefused
from ..cases import Case
from ..choice import Choice
from ..eager import Eager
from ..floors import MORE_DRAWS
from ..lower import InGraph, Lower
from ..metrics import PYTORCH
from ..reference import OTHER_ROUNDINGS
from .pairing import NotComparable
from .runs import GivenChoices, Outputs

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModuleRuns:
    """Runs a module with given choices.

    Args:
        module: The module; it is left as it is.
        output_names: The names of its outputs.
        seed: The seed of every run.
        lower: The precisions below float32 whose floors may be asked for.
    """

    module: nn.Module
    output_names: Sequence[str]
    seed: int
    lower: Sequence[Lower] = ()

    @property
    def source(self) -> str:
        """Whose float64 the truth is."""
        return PYTORCH

    @property
    def levels_source(self) -> str:
        """Whose levels those of a graph are counted beside."""
        return PYTORCH

    def choices(self, case: Case) -> list[Choice]:
        """Return the module's own choices among places and levels, in float64 and in their order."""
        try:
            self._double.run(case.feeds, case)
        except ModuleRefused as error:
            raise NotComparable(f"float64 cannot run case {case.name}") from error
        return self._double.to_give

    def truth(self, case: Case, given: GivenChoices) -> tuple[Outputs, float]:
        """Return the outputs in float64, and the largest magnitude on the way to them."""
        outputs = self._run(self._double, case, given)
        return outputs, self._double.largest

    def rounded(self, case: Case, given: GivenChoices) -> Iterator[Outputs]:
        """Yield the outputs of several runs in float32."""
        for rounding in ("own", *OTHER_ROUNDINGS):
            yield self._run(self._single, case, given, rounding=rounding)

    def drawn(self, case: Case, given: GivenChoices) -> Iterator[Outputs]:
        """Yield those of more runs."""
        for draw in MORE_DRAWS:
            yield self._run(self._single, case, given, draw=draw)

    def lowered(self, case: Case, given: GivenChoices, precision: str) -> Iterator[Outputs]:
        """Yield the outputs of several runs of a precision below float32."""
        lower = next((one for one in self.lower if one.precision == precision), None)
        if lower is None or isinstance(lower, InGraph):
            raise NotComparable(f"what {precision} loses is not measured in the module")
        for draw in lower.draws:
            yield self._run(self._single, case, given, lower=lower, draw=draw)

    @cached_property
    def _double(self) -> Eager:
        return Eager(self.module, self.output_names, self.seed, is_double=True)

    @cached_property
    def _single(self) -> Eager:
        single = Eager(self.module, self.output_names, self.seed, is_double=False)
        if self.lower:
            single.follow_modules()
        return single

    def _run(self, runner: Eager, case: Case, given: GivenChoices, **how: Any) -> Outputs:
        try:
            outputs, scores = runner.run_given(case, given.places, given.names, **how)
        except ModuleRefused as error:
            raise NotComparable(str(error)) from error
        return outputs | {given.names[number]: value for number, value in scores.items()}
