"""The description of the machine: structure, and arithmetic on counters of our own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from attn2trt.engines.timing import machine, memory
from attn2trt.engines.timing.core_latency import CoreDistance
from attn2trt.engines.timing.gpu_clock import GpuClock
from attn2trt.engines.timing.machine import Conditions


def test_the_description_is_of_plain_values() -> None:
    found = machine.describe()
    assert 1 <= found["physical_cores"] <= found["cores"]
    assert found["last_level_cache_mib"] > 0
    assert isinstance(found["gpus"], list)


def test_two_threads_of_one_core_are_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cpu, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(siblings + "\n")
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    monkeypatch.setattr(machine, "usable_cpus", lambda: {0, 1, 2, 3})
    assert machine.physical_cores() == 2


def test_the_largest_cache_counts_and_none_is_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    assert machine.last_level_cache_bytes() == machine.DEFAULT_CACHE_BYTES
    for index, size in enumerate(["48K", "2M", "33792K"]):
        folder = tmp_path / "cpu0" / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(size)
    assert machine.last_level_cache_bytes() == 33792 << 10


def test_cores_busy_with_something_else_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=iter([100.0, 110.0]).__next__))
    monkeypatch.setattr(machine, "_busy_seconds", iter([1000.0, 1019.0]).__next__)
    monkeypatch.setattr(machine, "_mhz", iter([3000.0, 2900.0]).__next__)
    monkeypatch.setattr(machine, "_throttled", iter([4, 4]).__next__)
    found = machine.Watch().conditions(own_cpu_seconds=14.0)
    assert (found.seconds, found.other_cores, found.mhz, found.throttled) == (10.0, 0.5, (3000.0, 2900.0), 0)
    assert found.remarks() == ["0.5 cores were busy with something else; measure again on a quiet machine"]
    assert found.doubts


def test_distant_processors_are_doubtful_if_such_rounds_had_to_be_kept() -> None:
    distant = CoreDistance(rounds=12, distant=10, kept=True, least_us=8.6, most_us=34.1)
    (doubt,) = Conditions(1.0, 0.0, (None, None), 0, core_distance=distant).remarks()
    assert doubt == (
        "the processors were far from each other in 10 of 12 rounds (writing what another had written took up to "
        "34 us, 9 at best); measure again on a quiet machine"
    )
    mended = Conditions(1.0, 0.0, (None, None), 0, core_distance=replace(distant, rounds=8, distant=2, kept=False))
    assert not mended.doubts
    (remark,) = mended.remarks()
    assert remark.endswith("9 at best), which were left out")


def test_every_doubt_is_reported_in_one_line() -> None:
    found = Conditions(1.0, 1.26, (None, None), 3, gpu=GpuClock(1200, ("heat",)))
    assert found.remarks() == [
        "1.3 cores were busy with something else, and a core was throttled 3 times, and the GPU was slowed down by "
        "heat; measure again on a quiet machine"
    ]


def test_a_system_that_tells_nothing_raises_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_read", lambda path: "")
    found = machine.Watch().conditions(1.0)
    assert (found.other_cores, found.mhz, found.throttled, found.doubts) == (None, (None, None), None, ())


def test_the_peak_counts_from_when_it_is_asked_to() -> None:
    large = np.ones(64 << 20, np.uint8)
    before = memory.peak_mib()
    del large
    if memory.start_peak():  # else it counts from the process's start, and says so
        after = memory.peak_mib()
        assert before is not None
        assert after is not None
        assert after < before - 32


def test_only_the_processors_that_we_may_use_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["cpu 9999 0 0 0 0 0 0 0 0 0", *(f"cpu{number} {number}00 1 2 9999 9999 3 4 5 0 0" for number in range(4))]
    monkeypatch.setattr(machine, "_read", lambda path: "\n".join([*lines, "intr 5"]))
    monkeypatch.setattr(machine, "usable_cpus", lambda: {1, 3})
    assert machine._busy_seconds() == (100 + 15 + 300 + 15) / os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(machine, "usable_cpus", lambda: {1, 7})
    assert machine._busy_seconds() is None
