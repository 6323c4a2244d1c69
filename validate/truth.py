"""The runs that everything is judged by: the module in float64 or, for what float64 cannot run, in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from .cases import Case
from .eager import CannotRun, Eager, Feeds, Outputs
from .hidden import Hidden
from .repeats import Repeats

if TYPE_CHECKING:
    from torch import nn


class Truth:
    """Give the truth of one case after the other, and refuse a module that gives another one for the same inputs.

    ``why_not`` is why the last one is float32's, "" if it is float64's.
    """

    def __init__(
        self,
        module: nn.Module,
        cases: Sequence[Case],
        output_names: Sequence[str],
        seed: int,
        hidden: Hidden | None,
    ) -> None:
        self._module, self._cases, self._names, self._seed, self._hidden = module, cases, output_names, seed, hidden
        self._double, self._single = self._runner(is_double=True), self._runner(is_double=False)
        self.why_not = ""

    def run(self, number: int, feeds: Feeds) -> tuple[Eager, Outputs]:
        """Return the module that gave the truth of case ``number``, and its outputs by name.

        Raises CannotRun if PyTorch cannot run the case in float32 either.
        """
        self.why_not = ""
        try:
            return self._double.module, self._double.run(number, feeds)
        except CannotRun as error:
            outputs = self._single.run(number, feeds)
            self.why_not = error.reason
            wide = {
                name: value.astype("float64") if value.dtype.kind == "f" else value for name, value in outputs.items()
            }
            return self._single.module, wide

    def _runner(self, *, is_double: bool) -> _Runner:
        def make() -> Eager:
            return Eager(self._module, self._names, self._seed, is_double=is_double, is_truth=True)

        return _Runner(make, self._cases, self._hidden)


class _Runner:
    """The module in one type, made when it is first asked for, and the repetition of its first runs."""

    def __init__(self, make: Callable[[], Eager], cases: Sequence[Case], hidden: Hidden | None) -> None:
        self._make, self._cases, self._hidden = make, cases, hidden

    @cached_property
    def module(self) -> Eager:
        return self._make()

    @cached_property
    def _repeats(self) -> Repeats:
        repeats = Repeats(self.module, self._cases)
        if self._hidden is not None:
            self.module.tell(self._hidden.reached)
        repeats.start()
        return repeats

    def run(self, number: int, feeds: Feeds) -> Outputs:
        repeats = self._repeats
        outputs = self.module.run(feeds, self._cases[number])
        repeats.check(number, outputs)
        return outputs
