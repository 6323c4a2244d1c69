"""The distance of processors: measured here if the system allows it, and judged on answers of our own."""

from __future__ import annotations

import os
from dataclasses import asdict

import pytest

from attn2trt.engines.timing import core_latency
from attn2trt.engines.timing.core_latency import CoreDistance, CoreWatch, core_latency_us


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not let a thread choose a processor")
def test_a_latency_is_measured_and_leaves_the_thread_where_it_may_run() -> None:
    allowed = os.sched_getaffinity(0)
    found = core_latency_us()
    assert os.sched_getaffinity(0) == allowed
    assert (found is None) == (len(allowed) < 2)
    assert found is None or 0 < found < 1e6


def test_one_processor_hands_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_latency, "usable_cpus", lambda: {3})
    assert core_latency_us() is None


def test_a_system_without_affinity_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_latency, "usable_cpus", lambda: {0, 1})
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert core_latency_us() is None


def test_a_processor_that_is_taken_away_meanwhile_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.sched_getaffinity(0)
    monkeypatch.setattr(core_latency, "usable_cpus", lambda: {0, 1 << 14})
    assert core_latency_us() is None
    assert os.sched_getaffinity(0) == allowed


def test_of_many_processors_a_few_are_asked_from_all_over() -> None:
    assert core_latency._spread(list(range(16))) == list(range(16))
    assert core_latency._spread(list(range(96))) == list(range(0, 96, 6))
    assert len(core_latency._spread(list(range(250)))) <= core_latency.MOST_CPUS


def test_distant_is_several_times_the_shortest_until_now() -> None:
    found = CoreWatch(iter([10.0, 26.0, 24.0, None]).__next__)
    answers = [found.measure() for _ in range(4)]
    assert [found.is_distant(answer) for answer in answers] == [False, True, False, False]


def test_what_cannot_be_measured_is_never_distant() -> None:
    found = CoreWatch(lambda: None)
    assert not found.is_distant(found.measure())
    found.count(6, 0, kept=False)
    counted = found.distance()
    assert (counted.rounds, counted.distant, counted.least_us, counted.most_us) == (6, 0, None, None)


def test_documents_of_earlier_versions_are_read() -> None:
    found = CoreDistance(rounds=8, distant=2, kept=False, least_us=8.6, most_us=34.1)
    earlier = {"rounds": 8, "apart": 2, "kept": False, "least_us": 8.6, "most_us": 34.1}
    assert CoreDistance.from_json({"placed": earlier}) == found
    assert CoreDistance.from_json({"core_distance": asdict(found)}) == found
    assert CoreDistance.from_json({"placed": None}) is CoreDistance.from_json({}) is None
