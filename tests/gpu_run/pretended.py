"""Steps that take no time: a runner in this process, with a clock of its own, and a small plan of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gpu.document import Setting, document
from gpu.drive import Drive
from gpu.estimates import Estimates
from gpu.processes import Ended
from gpu.rows import Row, read_rows, write_row
from gpu.schedule import Schedule
from gpu.work import HELD, Case, Step, steps

SLOTS: Any = {"export": 2, "build": 2}
SETTING = Setting("sources", "tensorrt", "8.6.0", ("NVIDIA H200",), "CUDA 13.0", None, ("cudnn",))
MARK = "of now"
SMALL = ((Case("a", "se", "2x8x4x4", batches=(8,)), Case("b", "cbam", "2x8x4x4", batches=(8,))),)
FOUND: dict[str, dict[str, Any]] = {
    "export": {"passed": True, "blocks": [], "no_plain_export": ""},
    "build": {"judged": True, "numerics": True, "passed": True, "why": "", "plan": {"seconds": 9}},
    "plain": {"plan": {}},
    "copies": {"bytes_per_s": 1e12},
    "time": {"timing": [{"runtime": "tensorrt-fp16", "model": "target", "status": "measured", "median_ms": 1.0}]},
    "pytorch": {"timing": [{"runtime": "pytorch-cuda-fp16", "model": "target", "status": "measured", "median_ms": 2}]},
}


def row_of(step: Step, **more: Any) -> Row:
    about = {"step": step.name, "kind": step.kind, "case": step.case, "precision": step.precision}
    return {**about, "batch": step.batch, "setting": MARK, "status": "done", **FOUND.get(step.kind, {}), **more}


class World:
    """Runs steps on a clock of its own. ``seconds`` and ``row`` are of a step; every start and end is an event."""

    def __init__(
        self,
        folder: Path,
        seconds: Callable[[Step], float] = lambda _: 10.0,
        row: Callable[[Step], Row | None] = row_of,
    ) -> None:
        self._folder, self._seconds, self._row = folder, seconds, row
        self.now = 0.0
        self.until: dict[str, tuple[Step, float]] = {}
        self.events: list[tuple[str, str]] = []
        self.held: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.until)

    def start(self, step: Step) -> None:
        self.events.append(("start", step.name))
        self.until[step.name] = (step, self.now + self._seconds(step))

    def ended(self) -> list[Ended]:
        over = [step for step, until in self.until.values() if until <= self.now and step.pool not in self.held]
        for step in over:
            del self.until[step.name]
            self.events.append(("end", step.name))
            row = self._row(step)
            if row is not None:
                write_row(self._folder, {"seconds": self._seconds(step), **row})
        return [Ended(step, 0, "ended with exit code 0") for step in over]

    def hold(self, pool: str) -> None:
        assert pool in HELD
        self.held.add(pool)

    def go_on(self, pool: str) -> None:
        assert pool in HELD
        self.held.discard(pool)

    def kill(self) -> list[Step]:
        killed = [step for step, _ in self.until.values()]
        self.until.clear()
        return killed

    def sleep(self, _seconds: float) -> None:
        self.now += 1.0


def drive(
    folder: Path,
    world: World,
    *,
    seconds: float = 1e4,
    plan: list[Step] | None = None,
    keep: Callable[[Mapping[str, Any]], object] = lambda _: None,
) -> dict[str, Any]:
    """A run of the small plan of work in the world, with the rows that the folder holds."""
    plan = steps(SMALL) if plan is None else plan
    by_name = {step.name: step for step in plan}
    before = read_rows(folder)
    rows = {name: row for name, row in before.items() if row["setting"] == MARK}
    run = Drive(
        folder=folder,
        steps=by_name,
        schedule=Schedule(plan, rows, SLOTS, Estimates(before, by_name)),
        document=partial(document, SETTING, {"minutes": seconds / 60}, by_name),
        marks=lambda _: MARK,
        name="results.json",
        deadline=world.now + seconds,
        keep=keep,
        report=lambda _: None,
        clock=lambda: world.now,
        sleep=world.sleep,
    )
    return run.go(world)
