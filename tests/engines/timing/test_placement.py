"""How near processors are: measured here where the system lets us, and what is made of answers of our own."""

from __future__ import annotations

import os

import pytest

from attn2trt.engines.timing import placement
from attn2trt.engines.timing.placement import Placement, handover_us


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not let a thread choose a processor")
def test_a_handover_takes_time_and_leaves_the_thread_where_it_may_run() -> None:
    allowed = os.sched_getaffinity(0)
    found = handover_us()
    assert os.sched_getaffinity(0) == allowed
    assert (found is None) == (len(allowed) < 2)
    assert found is None or 0 < found < 1e6


def test_one_processor_hands_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "usable_cpus", lambda: {3})
    assert handover_us() is None


def test_a_system_without_affinity_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "usable_cpus", lambda: {0, 1})
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert handover_us() is None


def test_a_processor_that_is_taken_away_meanwhile_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.sched_getaffinity(0)
    monkeypatch.setattr(placement, "usable_cpus", lambda: {0, 1 << 14})
    assert handover_us() is None
    assert os.sched_getaffinity(0) == allowed


def test_of_many_processors_a_few_are_asked_from_all_over() -> None:
    assert placement._spread(list(range(16))) == list(range(16))
    assert placement._spread(list(range(96))) == list(range(0, 96, 6))
    assert len(placement._spread(list(range(250)))) <= placement.MOST_CPUS


def test_apart_is_several_times_the_shortest_until_now() -> None:
    found = Placement(iter([10.0, 26.0, 24.0, None]).__next__)
    answers = [found.ask() for _ in range(4)]
    assert [found.is_apart(answer) for answer in answers] == [False, True, False, False]


def test_what_cannot_be_asked_is_never_apart() -> None:
    found = Placement(lambda: None)
    assert not found.is_apart(found.ask())
    found.count(6, 0, kept=False)
    told = found.placed()
    assert (told.rounds, told.apart, told.least_us, told.most_us) == (6, 0, None, None)
