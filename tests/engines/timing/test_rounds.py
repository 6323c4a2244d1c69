"""The order of turns, and what becomes of a cell that breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attn2trt.engines.timing.core_latency import CoreDistance, CoreWatch
from attn2trt.engines.timing.method import Limits, Method
from attn2trt.engines.timing.rounds import interleave
from attn2trt.errors import CheckFailed

METHOD = Method(rounds=4, pause_seconds=0)


def asked(answers: list[float]) -> CoreWatch:
    """The processors' distances in this order."""
    return CoreWatch(iter(answers).__next__)


def near() -> CoreWatch:
    """Processors that do not move."""
    return CoreWatch(lambda: 9.0)


class Player:
    """Writes down its turns; dies in the round ``dies_in``."""

    def __init__(self, name: str, log: list[str], dies_in: int = -1, method: Method = METHOD) -> None:
        self.name, self.log, self.dies_in, self.turns, self.method = name, log, dies_in, 0, method

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        assert limits == (self.method.hot_turn() if hot else self.method.turn())
        if hot:
            self.turns += 1
            return [1]
        if self.turns == self.dies_in:
            raise CheckFailed(f"{self.name} was killed")
        self.log.append(self.name)
        return [10 * self.turns, 10 * self.turns + 1]


def test_rounds_alternate_in_direction_and_keep_their_samples_separate() -> None:
    log: list[str] = []
    players = {name: Player(name, log) for name in "abc"}
    samples, failed = interleave(players, METHOD, cores=near())
    assert "".join(log) == "abccbaabccba"
    assert not failed
    assert samples["b"].rounds == [[0, 1], [10, 11], [20, 21], [30, 31]]
    assert samples["b"].rotated == [0, 1, 10, 11, 20, 21, 30, 31]
    assert samples["b"].hot == [1, 1, 1, 1]


def test_one_that_breaks_is_reported_and_the_others_go_on() -> None:
    log: list[str] = []
    players = {name: Player(name, log, 1 if name == "b" else -1) for name in "abc"}
    samples, failed = interleave(players, METHOD, cores=near())
    assert failed == {"b": "b was killed"}
    assert sorted(samples) == ["a", "c"]
    assert "".join(log) == "abccaacca"


def test_there_is_a_pause_before_every_turn_and_before_the_last_look_at_the_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    method = Method(rounds=4)
    interleave({name: Player(name, [], method=method) for name in "ab"}, method, cores=near())
    assert pauses == [method.pause_seconds] * 12


def test_rounds_in_which_the_processors_were_distant_are_made_up_for() -> None:
    # two looks a round, one before the turn and one after it: distant in the second half of round 1, and all of round 3
    cores = asked([9, 9, 8, 30, 9, 9, 31, 30, 9, 9, 9, 9])
    samples, _ = interleave({"a": Player("a", [])}, METHOD, cores=cores)
    assert samples["a"].rounds == [[0, 1], [20, 21], [40, 41], [50, 51]]
    assert samples["a"].distant == [[10, 11], [30, 31]]
    assert samples["a"].hot == [1] * 4
    assert cores.distance() == CoreDistance(rounds=6, distant=2, kept=False, least_us=8, most_us=31)


def test_an_early_round_is_judged_by_the_best_that_came_later() -> None:
    cores = asked([30, 30, *[9] * 8])
    samples, _ = interleave({"a": Player("a", [])}, METHOD, cores=cores)
    assert samples["a"].rounds == [[10, 11], [20, 21], [30, 31], [40, 41]]


def test_where_hardly_any_round_is_undisturbed_all_are_kept_and_it_is_stated() -> None:
    cores = asked([9, 9, *[30] * 14])
    samples, _ = interleave({"a": Player("a", [])}, METHOD, cores=cores)
    assert len(samples["a"].rounds) == 8
    assert samples["a"].distant == []
    found = cores.distance()
    assert (found.rounds, found.distant, found.kept) == (8, 7, True)


def test_two_undisturbed_rounds_of_four_are_enough() -> None:
    cores = asked([9, 9, 9, 9, *[30] * 12])
    samples, _ = interleave({"a": Player("a", [])}, METHOD, cores=cores)
    assert samples["a"].rounds == [[0, 1], [10, 11]]
    assert not cores.distance().kept


@pytest.mark.parametrize(
    ("distant_in", "asked_for", "played", "distant"),
    [((5, 6), 2, 7, 2), ((5, 6), 1, 6, 1), ((), 2, 12, 0), ((0, 1), 2, 6, 2), ((11,), 2, 12, 1)],
)
def test_rounds_with_distant_processors_are_waited_for_if_the_method_asks_for_them(
    distant_in: tuple[int, ...], asked_for: int, played: int, distant: int
) -> None:
    cores = asked([latency for turn in range(12) for latency in [30.0 if turn in distant_in else 9.0] * 2])
    player = Player("a", [], method=replace(METHOD, distant_rounds=asked_for))
    samples, _ = interleave({"a": player}, player.method, cores=cores)
    assert len(samples["a"].distant) == len(samples["a"].distant_medians_ms) == distant
    assert len(samples["a"].rounds) == played - distant
