"""The order in which cells are timed: one turn each in every round, every other round in reverse.

Reversing gives first and last place to each in turn, so that a drift of the machine favours none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ...errors import Attn2trtError
from .latency import Latency
from .method import Limits, Method

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


def interleave(
    timed: Mapping[Key, Timed], method: Method, *, pause: Callable[[float], object] = time.sleep
) -> tuple[dict[Key, Samples], dict[Key, str]]:
    """The samples of every cell, and for those that broke on the way the reason in their place.

    Before each turn comes a pause, in which the threads of the one before go to sleep.
    """
    samples = {key: Samples() for key in timed}
    failed: dict[Key, str] = {}
    for number in range(method.rounds):
        for key in list(timed) if number % 2 == 0 else reversed(list(timed)):
            if key in failed:
                continue
            pause(method.pause_seconds)
            try:
                samples[key].rounds.append(timed[key].turn(method.turn(), hot=False))
                samples[key].hot += timed[key].turn(method.hot_turn(), hot=True)
            except Attn2trtError as error:
                failed[key] = str(error)
                del samples[key]
    return samples, failed
