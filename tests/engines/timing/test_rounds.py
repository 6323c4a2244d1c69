"""The order of turns, and what becomes of a cell that breaks."""

from __future__ import annotations

from attn2trt.engines.timing.method import Limits, Method
from attn2trt.engines.timing.rounds import interleave
from attn2trt.errors import CheckFailed

METHOD = Method(rounds=4)


class Player:
    """Writes down its turns; dies in the round ``dies_in``."""

    def __init__(self, name: str, log: list[str], dies_in: int = -1) -> None:
        self.name, self.log, self.dies_in, self.turns = name, log, dies_in, 0

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        assert limits == (METHOD.hot_turn() if hot else METHOD.turn())
        if hot:
            self.turns += 1
            return [1]
        if self.turns == self.dies_in:
            raise CheckFailed(f"{self.name} was killed")
        self.log.append(self.name)
        return [10 * self.turns, 10 * self.turns + 1]


def test_rounds_alternate_in_direction_and_keep_their_samples_apart() -> None:
    log: list[str] = []
    players = {name: Player(name, log) for name in "abc"}
    samples, failed = interleave(players, METHOD, pause=lambda _: None)
    assert "".join(log) == "abccbaabccba"
    assert not failed
    assert samples["b"].rounds == [[0, 1], [10, 11], [20, 21], [30, 31]]
    assert samples["b"].rotated == [0, 1, 10, 11, 20, 21, 30, 31]
    assert samples["b"].hot == [1, 1, 1, 1]


def test_one_that_breaks_is_told_and_the_others_go_on() -> None:
    log: list[str] = []
    players = {name: Player(name, log, 1 if name == "b" else -1) for name in "abc"}
    samples, failed = interleave(players, METHOD, pause=lambda _: None)
    assert failed == {"b": "b was killed"}
    assert sorted(samples) == ["a", "c"]
    assert "".join(log) == "abccaacca"


def test_there_is_a_pause_before_every_turn() -> None:
    pauses: list[float] = []
    interleave({name: Player(name, []) for name in "ab"}, METHOD, pause=pauses.append)
    assert pauses == [METHOD.pause_seconds] * 8
