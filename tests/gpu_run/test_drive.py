"""A run of the GPU check, with steps that take no time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gpu.drive import forget_failed
from gpu.estimates import FIRST_GUESS
from gpu.rows import Row, read_rows, write_row
from gpu.work import WAVES, Step, steps
from gpu_run.pretended import SMALL, World, drive, row_of

NAMES = [step.name for step in steps(SMALL)]
HERE = Path(__file__).parent


def running_at_once(events: list[tuple[str, str]]) -> list[set[str]]:
    """The steps that were running after each start."""
    running: set[str] = set()
    found = []
    for what, name in events:
        running ^= {name}
        if what == "start":
            found.append(set(running))
    return found


def test_everything_is_done_in_the_order_of_the_waves_and_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = drive(tmp_path, world)
    assert sorted(name for what, name in world.events if what == "start") == sorted(NAMES)
    assert found["not_reached"] == {}
    assert [(row["case"], row["passed"]) for row in found["rows"]] == [("a", True), ("b", True)]
    assert {(entry["case"], entry["batch"], entry["runtime"]) for entry in found["timing"]} == {
        (case, 8, runtime) for case in "ab" for runtime in ("tensorrt-fp16", "pytorch-cuda-fp16")
    }
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(found))


def test_nothing_runs_while_something_is_timed_but_a_stopped_export(tmp_path: Path) -> None:
    plan = steps()
    kinds = {step.name: step for step in plan}
    world = World(tmp_path, seconds=lambda step: {"export": 50.0, "build": 7.0}.get(step.kind, 3.0))
    drive(tmp_path, world, plan=plan)
    at_once = running_at_once(world.events)
    for running in at_once:
        alone = [name for name in running if kinds[name].pool == "alone"]
        assert len(alone) <= 1
        assert not alone or all(kinds[name].pool == "export" for name in running - {*alone})
        assert sum(kinds[name].pool == "build" for name in running) <= 2
    assert max(len([name for name in running if kinds[name].pool == "build"]) for running in at_once) == 2
    assert any(len(running) > 1 and kinds[name].pool == "alone" for running in at_once for name in running)


def test_an_export_is_stopped_while_something_is_timed_and_goes_on_then(tmp_path: Path) -> None:
    held: list[tuple[set[str], bool]] = []

    class Watched(World):
        def sleep(self, seconds: float) -> None:
            held.append(({step.kind for step, _ in self.until.values()}, bool(self.held)))
            super().sleep(seconds)

    drive(tmp_path, Watched(tmp_path, seconds=lambda step: 60.0 if step.name == "export-b" else 5.0))
    assert all(is_held == bool(kinds & {"time", "pytorch"}) for kinds, is_held in held if kinds)
    assert any({"export", "time"} <= kinds for kinds, _ in held)


def test_a_wave_is_timed_before_the_next_is_built(tmp_path: Path) -> None:
    world = World(tmp_path)
    drive(tmp_path, world, plan=steps())
    order = [name for what, name in world.events if what == "start"]
    first, second = (
        [step for step in steps() if step.wave == wave and step.kind in ("build", "time")] for wave in (1, 2)
    )
    last_timed = max(order.index(step.name) for step in first if step.kind == "time")
    assert all(order.index(step.name) > last_timed for step in second if step.kind == "build")


def test_no_build_starts_that_cannot_end_in_time_with_what_it_is_for(tmp_path: Path) -> None:
    world = World(tmp_path, seconds=lambda step: 100.0)
    guessed = FIRST_GUESS["build"][0] + 2 * FIRST_GUESS["time"][0] + 2 * FIRST_GUESS["pytorch"][0]
    found = drive(tmp_path, world, seconds=100 + guessed - 60)
    started = {name for what, name in world.events if what == "start"}
    # PyTorch as it is needs nothing built, and there is time for one case
    assert started == {"export-a", "export-b", "pytorch-a-8"}
    assert "s were left" in found["not_reached"]["build-a-fp16"]
    assert found["not_reached"]["time-a-8"].startswith("build-a-fp16: takes about")
    assert set(found["not_reached"]) == {*NAMES} - started


def test_what_earlier_builds_took_decides_about_the_next(tmp_path: Path) -> None:
    quick = World(tmp_path, seconds=lambda step: 1.0)
    drive(tmp_path, quick, seconds=1000, plan=[step for step in steps(SMALL) if "-b" not in step.name])
    again = World(tmp_path, seconds=lambda step: 1.0)
    assert drive(tmp_path, again, seconds=30)["not_reached"] == {}


def test_steps_that_are_running_at_the_end_of_the_time_are_stopped_and_listed(tmp_path: Path) -> None:
    world = World(tmp_path, seconds=lambda step: 500.0 if step.kind == "build" else 1.0)
    found = drive(tmp_path, world, seconds=400)
    assert found["not_reached"]["build-a-fp16"] == "stopped at the end of the time"
    assert world.now == pytest.approx(400, abs=2)
    assert not world.until


def test_a_run_that_is_killed_has_stated_what_it_has_not_reached(tmp_path: Path) -> None:
    written: list[Mapping[str, Any]] = []
    drive(tmp_path, World(tmp_path, seconds=lambda step: 25.0 if step.case == "b" else 10.0), keep=written.append)
    assert written[0]["not_reached"] == dict.fromkeys(NAMES, "not begun")
    for found in written:
        reached = {row["step"] for key in ("exports", "rows", "plain") for row in found[key]}
        assert reached.isdisjoint(found["not_reached"])
    assert any(why == "not ended" for found in written for why in found["not_reached"].values())


def test_a_refused_build_takes_what_needs_it_along_and_nothing_else(tmp_path: Path) -> None:
    def row(step: Step) -> Row:
        failed = {"status": "failed", "why": "node Unique"} if step.name == "build-a-fp16" else {}
        return row_of(step, **failed)

    found = drive(tmp_path, World(tmp_path, row=row))
    assert found["not_reached"] == {"time-a-8": "build-a-fp16: node Unique"}
    assert found["failed"] == {"build-a-fp16": "node Unique"}
    assert {entry["case"] for entry in found["timing"] if entry["runtime"] == "tensorrt-fp16"} == {"b"}


def test_a_step_that_dies_without_a_row_has_failed_with_how_it_ended(tmp_path: Path) -> None:
    found = drive(tmp_path, World(tmp_path, row=lambda step: None if step.kind == "plain" else row_of(step)))
    assert found["failed"] == dict.fromkeys(
        ("plain-a-fp16", "plain-b-fp16"), "ended with exit code 0; see logs/plain-a-fp16.log"
    ) | {"plain-b-fp16": "ended with exit code 0; see logs/plain-b-fp16.log"}
    assert len([entry for entry in found["timing"] if entry["runtime"] == "tensorrt-fp16"]) == 2


def test_a_row_of_another_setting_is_done_again(tmp_path: Path) -> None:
    for step in steps(SMALL):
        write_row(tmp_path, row_of(step, setting="of before"))
    again = World(tmp_path)
    drive(tmp_path, again)
    assert sorted(name for what, name in again.events if what == "start") == sorted(NAMES)


def test_a_row_that_a_step_wrote_for_another_setting_is_none(tmp_path: Path) -> None:
    found = drive(tmp_path, World(tmp_path, row=lambda step: row_of(step, setting="of before")))
    assert {"export-a", "export-b"} <= {*found["failed"]}
    assert found["rows"] == []


def test_failed_steps_are_done_again_only_if_that_is_asked_for(tmp_path: Path) -> None:
    drive(tmp_path, World(tmp_path, row=lambda step: row_of(step, status="failed", why="no")))
    drive(tmp_path, kept := World(tmp_path))
    assert kept.events == []
    assert forget_failed(tmp_path, read_rows(tmp_path)) == {}
    found = drive(tmp_path, World(tmp_path))
    assert (found["failed"], found["not_reached"]) == ({}, {})


def test_a_run_that_is_killed_at_any_write_leaves_what_it_has_and_goes_on() -> None:
    command = [sys.executable, str(HERE / "killed_runs.py")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    kills = int(ran.stdout)
    assert kills > 2 * len([name for name in NAMES if "-a" in name])


def test_the_first_waves_are_those_that_are_wanted_most() -> None:
    assert [case.name for case in WAVES[0]] == ["se-256x56x56", "cbam-256x56x56", "coord_att-256x56x56"]
    assert [case.name for case in WAVES[1]] == ["resnet50", "resnet50+se"]
    assert all({"fp16", "fp32"} == {*case.precisions} and case.batches == (8, 32) for case in WAVES[0])
