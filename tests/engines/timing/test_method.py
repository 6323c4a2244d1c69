"""When a turn ends, on a clock of our own; nothing here depends on how fast anything is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attn2trt.engines.timing.method import Limits, Method, time_calls
from attn2trt.errors import InputError

MS = 1_000_000


class Work:
    """A clock that advances only when one of the calls does its work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *milliseconds: float) -> None:
        monkeypatch.setattr("time.perf_counter_ns", lambda: self.now)
        self.now = 5 * MS
        self.made: list[int] = []
        self.calls = [self._call(number, cost) for number, cost in enumerate(milliseconds)]

    def _call(self, number: int, cost: float) -> Callable[[], None]:
        def call() -> None:
            self.made.append(number)
            self.now += int(cost * MS)

        return call


def test_every_call_is_timed_by_itself_and_inputs_rotate(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, 10, 20, 30)
    found = time_calls(work.calls, Limits(0.1, 4, 1))
    assert found == [10 * MS, 20 * MS, 30 * MS, 10 * MS, 20 * MS, 30 * MS]
    assert work.made == [0, 1, 2, 0, 1, 2]


def test_rotation_goes_on_where_the_last_turn_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, 10, 20, 30)
    time_calls(work.calls, Limits(0, 2, 1), first=4)
    assert work.made == [1, 2]


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        (Limits(0.1, 1, 9), 10),  # the seconds decide
        (Limits(0.1, 25, 9), 25),  # the iterations decide
        (Limits(0.1, 25, 0.15), 15),  # the cap comes first
        (Limits(0.001, 1, 0.001), 1),  # one call at least
    ],
)
def test_a_turn_ends_after_both_minima_or_at_the_cap(
    limits: Limits, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(monkeypatch, 10)
    assert len(time_calls(work.calls, limits)) == count


def test_the_rounds_together_are_what_was_asked_for() -> None:
    method = Method(seconds=3, iterations=100, max_seconds=20, rounds=6)
    turn, hot = method.turn(), method.hot_turn()
    assert turn.min_seconds * 6 == pytest.approx(3)
    assert turn.min_iterations * 6 >= 100
    assert turn.max_seconds * 6 == pytest.approx(20)
    assert hot.min_seconds == pytest.approx(turn.min_seconds * method.hot_share)
    assert method.to_json()["rounds"] == 6


@pytest.mark.parametrize("wrong", [{"seconds": 30}, {"seconds": 0}, {"iterations": 0}, {"rounds": 0}])
def test_rules_that_contradict_each_other_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="no minimum above the maximum"):
        Method(**wrong)
