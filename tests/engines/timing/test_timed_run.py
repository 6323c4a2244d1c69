"""A timed run: which processes stay in it, which limits each has, and the processor time that is the run's own."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from pretended_worker import real_workers
from small_graph import INPUT, healthy

from attn2trt.engines.ort_runtime import CPU
from attn2trt.engines.timing import machine
from attn2trt.engines.timing.core_latency import CoreWatch
from attn2trt.engines.timing.method import Limits, Method
from attn2trt.engines.timing.runners import OrtRunner
from attn2trt.engines.timing.timed_process import TimedProcess
from attn2trt.engines.timing.timed_run import Entry, MachineWatch, TimedRun, rotated_sets
from attn2trt.errors import CheckFailed

METHOD = Method(
    seconds=0.001, iterations=4, max_seconds=0.01, rounds=2, warm_up_seconds=0, settle_seconds=0, pause_seconds=0
)
SIZES = {"batch": 2, "height": 4}


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real_workers(monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(healthy(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def entry(model: Path, limits: Limits | None = None) -> Entry:
    return Entry(OrtRunner(model, CPU), (INPUT,), SIZES, 2, 0.0, limits)


def near() -> CoreWatch:
    return CoreWatch(lambda: 9.0)


def test_all_are_loaded_warmed_up_and_timed(model: Path) -> None:
    few = Limits(0, 1, 0.01)
    with TimedRun({"whole": entry(model), "part": entry(model, few)}, METHOD, threads=1) as run:
        names = run.load()
        run.warm_up()
        samples, watch = run.time(near())
    assert all(name.startswith("ONNX Runtime") for name in names.values())
    assert [len(values) for values in samples["part"].rounds] == [1, 1]
    assert samples["part"].hot == []
    assert len(samples["whole"].rotated) >= METHOD.iterations
    assert samples["whole"].hot
    conditions = watch.conditions()
    assert conditions.core_distance is not None
    assert conditions.core_distance.rounds == METHOD.rounds


def test_one_that_breaks_is_reported_and_the_others_go_on(model: Path, tmp_path: Path) -> None:
    failed: dict[str, str] = {}
    entries = {"none": entry(tmp_path / "none.onnx"), "killed": entry(model), "whole": entry(model)}
    with TimedRun(entries, METHOD, threads=1, on_failure=failed.__setitem__) as run:
        assert list(run.load()) == ["killed", "whole"]
        assert "cannot load" in failed["none"]
        run.warm_up()
        os.kill(run.processes["killed"].pid, signal.SIGKILL)
        samples, _ = run.time(near())
    assert list(samples) == list(run.processes) == ["whole"]
    assert "was killed by SIGKILL" in failed["killed"]


def test_without_a_place_for_failures_the_first_ends_the_run(model: Path, tmp_path: Path) -> None:
    with (
        TimedRun({"none": entry(tmp_path / "none.onnx")}, METHOD, threads=1) as run,
        pytest.raises(CheckFailed, match="cannot load"),
    ):
        run.load()
    with TimedRun({"killed": entry(model)}, METHOD, threads=1) as run:
        run.warm_up()
        os.kill(run.processes["killed"].pid, signal.SIGKILL)
        with pytest.raises(CheckFailed, match=r"^killed: .*; run the command again, with smaller sizes"):
            run.time(near())


def test_one_that_is_dropped_is_not_timed(model: Path) -> None:
    with TimedRun({"left": entry(model), "wrong": entry(model)}, METHOD, threads=1) as run:
        run.drop("wrong")
        run.warm_up()
        assert list(run.time(near())[0]) == ["left"]


def test_a_run_counts_processor_time_from_its_timing_and_a_shared_watch_from_the_start(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = iter([10.0, 12.0, 15.0])
    monkeypatch.setattr(TimedProcess, "cpu_seconds", lambda _self: next(used))
    counted: list[float] = []
    monkeypatch.setattr(MachineWatch, "add", lambda _self, seconds: counted.append(seconds))
    for watch in (None, MachineWatch(near())):
        with TimedRun({"one": entry(model)}, METHOD, threads=1, watch=watch) as run:
            run.warm_up()
            run.time(near())
    assert counted == [2.0, 15.0]


def test_the_processes_of_a_watch_are_not_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    own: list[float] = []

    def conditions(_self: machine.Watch, own_cpu_seconds: float, _distance: object) -> None:
        own.append(own_cpu_seconds)

    monkeypatch.setattr(machine.Watch, "conditions", conditions)
    watch = MachineWatch(near())
    watch.add(100.0)
    watch.add(20.0)
    watch.conditions()
    assert 120 <= own[0] < 130


def test_inputs_that_rotate_fill_the_cache_twice() -> None:
    assert rotated_sets((INPUT,), SIZES, cache_bytes=2 * 3 * 4 * 8 * 4 * 10) == 20


def test_the_clock_is_the_gpus_if_that_is_asked_for(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime on the CPU has none; the stand-in's calls take three nanoseconds each."""
    few = Limits(0, 1, 0.01)
    entries = {"whole": replace(entry(model), on_device=True), "part": replace(entry(model, few), on_device=True)}
    with TimedRun(entries, METHOD, threads=1) as run:
        run.warm_up()
        with pytest.raises(CheckFailed, match=r"whole: ONNX Runtime .* has no clock of a GPU"):
            run.time(near())
        monkeypatch.setattr(TimedProcess, "_timed", lambda _process, limits, hot: ([9] * 5, [3 + hot] * 5))
        samples, _ = run.time(near())
    assert samples["whole"].rounds == [[3] * 5] * METHOD.rounds
    assert samples["whole"].hot == [4] * 5 * METHOD.rounds
    assert samples["part"].rounds == samples["whole"].rounds
    assert samples["part"].hot == []
