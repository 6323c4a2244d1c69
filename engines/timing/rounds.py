"""The order in which cells are timed: one turn each in every round, every other round in reverse.

Reversing gives first and last place to each in turn, so that a drift of the machine favours none. A round in which the
cores were far from each other (core_latency.py) is timed again: it tells of the host, and of some models more than of
others. Rounds are chosen by the distance of the cores, never by how long the models took, and for all models alike.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ...errors import Attn2trtError
from .core_latency import CoreWatch
from .latency import Latency
from .method import Limits, Method

Key = TypeVar("Key", bound=Hashable)


class Timed(Protocol):
    """A model that takes turns."""

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        """Return the nanoseconds of each call: on rotated inputs, or on one and the same if ``hot``."""
        ...


@dataclass
class Samples:
    """Nanoseconds of every call of one cell: round by round on rotated inputs, and together on one and the same.

    ``distant`` are the rounds on rotated inputs that are not among the others, since the cores were distant.
    """

    rounds: list[list[int]] = field(default_factory=list)
    hot: list[int] = field(default_factory=list)
    distant: list[list[int]] = field(default_factory=list)

    @property
    def rotated(self) -> list[int]:
        """All calls on rotated inputs."""
        return [value for values in self.rounds for value in values]

    @property
    def round_medians_ms(self) -> tuple[float, ...]:
        """The median of each round, in milliseconds."""
        return _medians_ms(self.rounds)

    @property
    def distant_medians_ms(self) -> tuple[float, ...]:
        """The median of each round that was left out because the cores were distant, in milliseconds."""
        return _medians_ms(self.distant)

    def together(self, later: Samples) -> Samples:
        """Return these and those of later rounds as one."""
        return Samples(self.rounds + later.rounds, self.hot + later.hot, self.distant + later.distant)


def _medians_ms(rounds: list[list[int]]) -> tuple[float, ...]:
    return tuple(Latency.of(values).median_ms for values in rounds)


@dataclass
class _Round(Generic[Key]):
    """The greatest latency between cores, and of each cell the calls on rotated inputs and on one and the same."""

    core_latency_us: float | None
    turns: dict[Key, tuple[list[int], list[int]]] = field(default_factory=dict)


def interleave(
    timed: Mapping[Key, Timed],
    method: Method,
    *,
    cores: CoreWatch,
) -> tuple[dict[Key, Samples], dict[Key, str]]:
    """Time all cells in turn.

    Before each turn comes a pause, in which the threads of the one before go to sleep. Rounds in which the cores were
    distant are left out and made up for, at most as many as the method has. If more than half of the method's rounds
    would still be missing, all are kept. The method may ask for distant rounds as well: they are waited for as long as
    three times its rounds take.

    Args:
        timed: The cells, in the order of the first round.
        method: The number of rounds, and the limits of a turn.
        cores: Measures the distance of the cores before and after each turn, and counts the rounds.

    Returns:
        The samples of every cell that took all its turns, and of the others the reason.
    """
    failed: dict[Key, str] = {}
    played: list[_Round[Key]] = []

    def near() -> list[_Round[Key]]:
        return [found for found in played if not cores.is_distant(found.core_latency_us)]

    def is_missing() -> bool:
        found = len(near())
        needs_near = found < method.rounds and len(played) < 2 * method.rounds
        return needs_near or (len(played) - found < method.distant_rounds and len(played) < 3 * method.rounds)

    while is_missing():
        order = list(timed) if len(played) % 2 == 0 else list(timed)[::-1]
        played.append(_play({key: timed[key] for key in order if key not in failed}, method, cores, failed))
    undisturbed = near()
    too_few = 2 * len(undisturbed) < method.rounds
    cores.count(len(played), len(played) - len(undisturbed), kept=too_few)
    samples = {key: Samples() for key in timed if key not in failed}
    for found in played:
        is_left_out = not too_few and cores.is_distant(found.core_latency_us)
        for key, sampled in samples.items():
            rotated, hot = found.turns[key]
            (sampled.distant if is_left_out else sampled.rounds).append(rotated)
            sampled.hot += [] if is_left_out else hot
    return samples, failed


def _play(
    timed: Mapping[Key, Timed],
    method: Method,
    cores: CoreWatch,
    failed: dict[Key, str],
) -> _Round[Key]:
    """Give each a turn in this order; the reason of one that breaks goes into ``failed``."""
    turns: dict[Key, tuple[list[int], list[int]]] = {}
    latencies = []
    for key, one in timed.items():
        time.sleep(method.pause_seconds)
        latencies.append(cores.measure())
        try:
            turns[key] = one.turn(method.turn(), hot=False), one.turn(method.hot_turn(), hot=True)
        except Attn2trtError as error:
            failed[key] = str(error)
    time.sleep(method.pause_seconds)
    latencies.append(cores.measure())
    return _Round(max((found for found in latencies if found is not None), default=None), turns)
