"""The recorded cases that a runtime takes, if it takes less than the bundle's ranges; the others are named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..cases import Case
from ..verdict import StageResult
from .judge import Pairs
from .stage import VALUES

if TYPE_CHECKING:
    from ..metrics import Reference


@dataclass
class Inside:
    """Cases with their references, without those that the runtime does not take.

    Attributes:
        pairs: All of them.
        takes: Tells whether the runtime takes a case.
        what: The limits of the runtime, in words.
    """

    pairs: Pairs
    takes: Callable[[Case], bool]
    what: str
    _outside: dict[str, None] = field(default_factory=dict)

    def __call__(self) -> Iterator[tuple[Case, Reference]]:
        for pair in self.pairs():
            if self.takes(pair[0]):
                yield pair
            else:
                self._outside[pair[0].name] = None

    def named(self, result: StageResult) -> StageResult:
        """Return the stage of the numbers with the cases that were left out; any other stage as it is."""
        if not result.comparisons or not self._outside or result.stage.kind != VALUES:
            return result
        left_out = f"outside of {self.what}, so not judged: {', '.join(self._outside)}"
        return replace(result, why="; ".join(filter(None, [result.why, left_out])))
