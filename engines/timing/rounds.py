"""The order in which cells are timed: one turn each in every round, every other round in reverse.

Reversing gives first and last place to each in turn, so that a drift of the machine favours none. A round during which
the processors were apart (placement.py) is timed again: it tells of the host, and of some models more than of others.
Rounds are chosen by where the processors were, never by how long the models took, and for all models alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ...errors import Attn2trtError
from .latency import Latency
from .method import Limits, Method
from .placement import Placement

Key = TypeVar("Key", bound=Hashable)


class Timed(Protocol):
    """What takes turns."""

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        """Nanoseconds of each call: of rotated inputs, or of one and the same where ``hot``."""
        ...


@dataclass
class Samples:
    """Nanoseconds of every call of one cell, round by round on rotated inputs, together on one and the same."""

    rounds: list[list[int]] = field(default_factory=list)
    hot: list[int] = field(default_factory=list)

    @property
    def rotated(self) -> list[int]:
        """All calls on rotated inputs."""
        return [value for values in self.rounds for value in values]

    @property
    def round_medians_ms(self) -> tuple[float, ...]:
        """The median of each round, in milliseconds."""
        return tuple(Latency.of(values).median_ms for values in self.rounds)

    def together(self, later: Samples) -> Samples:
        """These and those of later rounds."""
        return Samples(self.rounds + later.rounds, self.hot + later.hot)


@dataclass
class _Round(Generic[Key]):
    """The longest handover between processors, and of each cell the calls on rotated inputs and on one and the same."""

    handover: float | None
    turns: dict[Key, tuple[list[int], list[int]]] = field(default_factory=dict)


def interleave(
    timed: Mapping[Key, Timed],
    method: Method,
    *,
    placement: Placement,
    pause: Callable[[float], object] = time.sleep,
) -> tuple[dict[Key, Samples], dict[Key, str]]:
    """The samples of every cell, and for those that broke on the way the reason in their place.

    Before each turn comes a pause, in which the threads of the one before go to sleep. Rounds in which the processors
    were apart are left out and made up for, at most as many as the method has; where more than half of what it has
    would still be missing, all are kept. ``placement`` counts them.
    """
    failed: dict[Key, str] = {}
    played: list[_Round[Key]] = []

    def near() -> list[_Round[Key]]:
        return [found for found in played if not placement.is_apart(found.handover)]

    while len(played) < 2 * method.rounds and len(near()) < method.rounds:
        order = list(timed) if len(played) % 2 == 0 else list(timed)[::-1]
        played.append(_play({key: timed[key] for key in order if key not in failed}, method, placement, pause, failed))
    undisturbed = near()
    too_few = 2 * len(undisturbed) < method.rounds
    placement.count(len(played), len(played) - len(undisturbed), kept=too_few)
    samples = {key: Samples() for key in timed if key not in failed}
    for found in played if too_few else undisturbed:
        for key, sampled in samples.items():
            rotated, hot = found.turns[key]
            sampled.rounds.append(rotated)
            sampled.hot += hot
    return samples, failed


def _play(
    timed: Mapping[Key, Timed],
    method: Method,
    placement: Placement,
    pause: Callable[[float], object],
    failed: dict[Key, str],
) -> _Round[Key]:
    """One turn for each in this order; what breaks is noted in ``failed``."""
    turns: dict[Key, tuple[list[int], list[int]]] = {}
    handovers = []
    for key, one in timed.items():
        pause(method.pause_seconds)
        handovers.append(placement.ask())
        try:
            turns[key] = one.turn(method.turn(), hot=False), one.turn(method.hot_turn(), hot=True)
        except Attn2trtError as error:
            failed[key] = str(error)
    pause(method.pause_seconds)
    handovers.append(placement.ask())
    return _Round(max((found for found in handovers if found is not None), default=None), turns)
