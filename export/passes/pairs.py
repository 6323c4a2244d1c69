"""The tensors that a graph passes on in 8 bits, and which of them share a scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

LARGEST_RATIO = 4.0  # of the ranges of tensors that share a scale: two of 8 bits
Reader = tuple[str, int]  # the name of a node, and which of its inputs


@dataclass(frozen=True)
class Pairs:
    """The tensors that are passed on in 8 bits.

    Attributes:
        readers: The inputs that read 8 bits of each tensor, by its name.
        sources: The tensor whose numbers each is made of, if nothing computes others: it has that one's scale.
        concatenated: The tensors of each concatenation, first the one that it gives.
    """

    readers: Mapping[str, tuple[Reader, ...]]
    sources: Mapping[str, str] = field(default_factory=dict)
    concatenated: Sequence[tuple[str, ...]] = ()

    def ranges(self, own: Mapping[str, float]) -> dict[str, float]:
        """Return the range of each tensor: the largest of those that share its scale.

        What is concatenated shares a scale, so that it can be written in place, unless it would lose more than two of
        its 8 bits by the range of another one.
        """
        first = {name: self._source(name) for name in self.readers}
        alone: dict[str, float] = {}
        for name, source in first.items():
            alone[source] = max(alone.get(source, 0.0), own[name])
        groups = {source: frozenset([source]) for source in alone}
        for made, *read in self.concatenated:
            alone[first[made]] = max(alone[first[name]] for name in (made, *read))
            for name in read:
                both = groups[first[made]] | groups[first[name]]
                found = [alone[source] for source in both]
                if max(found) <= LARGEST_RATIO * min(found):
                    groups.update(dict.fromkeys(both, both))
        return {name: max(alone[one] for one in groups[source]) for name, source in first.items()}

    def completed(self, own: Mapping[str, float]) -> dict[str, float]:
        """Return the ranges of the tensors' ``own`` numbers, with that of its source for a tensor that has none.

        None is one that is missing or NaN.
        """
        found = {name: own.get(name, math.nan) for name in self.readers}
        return {name: found[self._source(name)] if math.isnan(value) else value for name, value in found.items()}

    def without(self, names: set[str]) -> Pairs:
        """Return the pairs without those of some tensors and of all that are made of the same numbers."""
        gone = {self._source(name) for name in names}
        kept = {name: found for name, found in self.readers.items() if self._source(name) not in gone}
        return pairs_of(kept, self.sources, self.concatenated)

    def _source(self, name: str) -> str:
        return self.sources.get(name, name)


def pairs_of(
    readers: Mapping[str, tuple[Reader, ...]], sources: Mapping[str, str], concatenated: Iterable[tuple[str, ...]]
) -> Pairs:
    """Return the pairs of what ``readers`` name."""
    left = [(made, *(name for name in read if name in readers)) for made, *read in concatenated if made in readers]
    return Pairs(readers, {name: source for name, source in sources.items() if source in readers}, tuple(left))
