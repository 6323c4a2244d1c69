"""Choices of a graph tried together: the plans with several of them, and the order in which they are built.

Some choices pay off only together: a Cast goes once a mean is a pooling, or an activation is taken into a product once
the gate before it is a convolution. A build takes from seconds to minutes, so the plans are few. The winners are
combined. Then the best so far gets one more choice, or a pair that meets, in place of what it has of the same kinds,
or all that are no clear loss. Those come first that lose least by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from ..engines.timing.paired import Difference
from .timed_comparison import fastest

PLAIN = "graph as it is"
# plans that are tried beside the best at once; at most so many of them have one more choice alone
AT_ONCE, ALONE = 16, 8
# plans with several choices in one search
MOST = 48


class Choice(Protocol):
    """One rewrite at every place of a kind; two of one kind exclude each other."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def count(self) -> int: ...


Candidate = tuple[Choice, ...]
Timed = Mapping[Choice, Difference]


def named(choice: Choice) -> str:
    """Return a choice in words."""
    return f"{choice.name} ({choice.kind})"


def title(candidate: Candidate) -> str:
    """Return a candidate in words."""
    return " + ".join(map(named, candidate)) or PLAIN


def winners(timed: Timed) -> list[Choice]:
    """Return for each kind of place the fastest choice that is faster by itself, the best first."""
    found = []
    for own in _by_kind(timed).values():
        name = fastest({named(choice): timed[choice] for choice in own})
        found += [choice for choice in own if named(choice) == name]
    return sorted(found, key=lambda choice: timed[choice].ms)


def together(timed: Timed) -> list[Candidate]:
    """Return the combinations of the winners: all of them, then without the last, and so on."""
    won = winners(timed)
    return [_ordered(won[:count], timed) for count in range(len(won), 1, -1)]


def beside(
    best: Candidate, timed: Timed, pairs: Iterable[Candidate], is_tried: Callable[[Candidate], bool]
) -> list[Candidate]:
    """Return the best with one more choice, with a pair, and with all that are no clear loss; at most AT_ONCE.

    One more choice or a pair takes the place of what the best has of their kinds. Those whose choices lose least by
    themselves come first; of several the order is that of the ``pairs``. What ``is_tried`` is left out, and so is a
    single choice that is a clear loss. A choice that was not ``timed`` by itself counts as no loss.
    """

    def new(found: Iterable[Candidate]) -> list[Candidate]:
        return [one for one in dict.fromkeys(found) if set(one) != set(best) and not is_tried(one)]

    no_loss = [choice for choice in timed if not _is_slower(timed[choice])]
    left = _by_kind(choice for choice in no_loss if choice.kind not in {own.kind for own in best})
    with_all = new(
        [_ordered([*best, *(min(own, key=lambda choice: timed[choice].ms) for own in left.values())], timed)]
    )
    with_one = new(_by_loss(best, ((choice,) for choice in no_loss), timed))[:ALONE]
    first = new([*with_one, *_by_loss(best, pairs, timed)])[: AT_ONCE - len(with_all)]
    return list(dict.fromkeys([*first, *with_all]))


def _by_loss(best: Candidate, more: Iterable[Candidate], timed: Timed) -> list[Candidate]:
    """Return the best with each of ``more`` in place of its own of the same kinds, the least expected loss first."""
    found = []
    for one in more:
        kinds = {choice.kind for choice in one}
        found.append(_ordered([*(choice for choice in best if choice.kind not in kinds), *one], timed))
    return sorted(dict.fromkeys(found), key=lambda one: sum(_loss(choice, timed) for choice in one))


def _loss(choice: Choice, timed: Timed) -> float:
    """Return the milliseconds that a choice clearly costs by itself, less than none if it clearly gains."""
    return timed[choice].ms if choice in timed and timed[choice].is_clear else 0.0


def _is_slower(difference: Difference) -> bool:
    return difference.is_clear and difference.low_ms > 0


def _by_kind(choices: Iterable[Choice]) -> dict[str, list[Choice]]:
    found: dict[str, list[Choice]] = {}
    for choice in choices:
        found.setdefault(choice.kind, []).append(choice)
    return found


def _ordered(choices: Iterable[Choice], timed: Timed) -> Candidate:
    """Return choices as they are ``timed``, so that the same ones are one candidate; those that were not come last."""
    places = {choice: place for place, choice in enumerate(timed)}
    return tuple(sorted(choices, key=lambda choice: (places.get(choice, len(places)), choice.kind, choice.name)))
