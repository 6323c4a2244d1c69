"""One run: steps start by the schedule, and all that is known is written whenever one has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .processes import Ended, log_path
from .rows import FOLDER, Row, read_row, write_json, write_row
from .schedule import Schedule
from .work import HELD, Step

PAUSE_SECONDS = 0.1
NOT_BEGUN, OUT_OF_TIME = "not begun before the end of the time", "stopped at the end of the time"


class Runner(Protocol):
    """The runner of the steps; see Processes."""

    def __bool__(self) -> bool: ...
    def start(self, step: Step) -> None: ...
    def ended(self) -> list[Ended]: ...
    def hold(self, pool: Any) -> None: ...
    def go_on(self, pool: Any) -> None: ...
    def kill(self) -> list[Step]: ...


@dataclass
class Drive:
    """A run in ``folder`` until ``deadline``, a time of ``clock``.

    Attributes:
        folder: Holds the rows, and everything else.
        steps: All steps by name.
        schedule: Chooses what starts.
        document: Returns everything that is known, from the rows, and from why the other steps have none.
        marks: The hash of the setting, by the step; a row with another one is not of this run.
        name: The document's file in the folder.
        keep: Called with the document whenever it has changed.
        report: Called with a line for every step that has ended.
    """

    folder: Path
    steps: Mapping[str, Step]
    schedule: Schedule
    document: Callable[[Mapping[str, Row], Mapping[str, str]], dict[str, Any]]
    marks: Callable[[Step], str]
    name: str
    deadline: float
    keep: Callable[[Mapping[str, Any]], object]
    report: Callable[[str], object]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep

    def go(self, runner: Runner, until: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Do everything for which there is time, or go on ``until`` something else is due; returns the document.

        Running steps are then left to the runner. At the end of the time it is stopped.
        """
        began = self.clock()
        self.write()
        while self.clock() < self.deadline:
            ended = runner.ended()
            for one in ended:
                self._record(one)
                self.report(f"[{self.clock() - began:5.0f} s] {self._line(one)}")
            if ended:
                self.write()
            started = self.schedule.start(self.deadline - self.clock())
            if not runner and not started:
                break
            if not self.schedule.is_alone:
                for pool in HELD:
                    runner.go_on(pool)
            for step in started:
                if step.pool == "alone":
                    for pool in HELD:
                        runner.hold(pool)
                runner.start(step)
            self.sleep(PAUSE_SECONDS)
            if until():
                return self.write()
        for one in runner.ended():
            self._record(one)
        self.schedule.give_up([step.name for step in runner.kill()], OUT_OF_TIME)
        self.schedule.give_up([step.name for step in self.schedule.waiting], NOT_BEGUN)
        return self.write()

    def _record(self, one: Ended) -> None:
        """Take the row that the step has written; without one, its end is the row."""
        step = one.step
        row = read_row(self.folder, step.name)
        if row is None or row.get("setting") != self.marks(step):
            said = f"; see {log_path(Path(), step)}"
            row = {"step": step.name, "kind": step.kind, "case": step.case, "precision": step.precision}
            row |= {"batch": step.batch, "setting": self.marks(step), "status": "failed", "why": one.how + said}
            write_row(self.folder, row)
        self.schedule.end(step.name, row)

    def _line(self, one: Ended) -> str:
        row = self.schedule.rows[one.step.name]
        why = row.get("why", "")
        took = f" in {row['seconds']:.0f} s" if "seconds" in row else ""
        return f"{one.step.name}: {row['status']}{took}{f' ({why})' if why else ''}"

    def write(self) -> dict[str, Any]:
        """Put all that is known in its place."""
        left = {**{step.name: "not begun" for step in self.schedule.waiting}, **self.schedule.not_reached}
        running = self.steps.keys() - self.schedule.rows.keys() - left.keys()
        left |= dict.fromkeys(running, "not ended")
        ordered = {name: left[name] for name in self.steps if name in left}
        found = self.document(self.schedule.rows, ordered)
        write_json(self.folder / self.name, found)
        self.keep(found)
        return found


def forget_failed(folder: Path, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The rows without those of steps that failed, whose files are removed, so that the steps are done again."""
    for name, row in rows.items():
        if row["status"] == "failed":
            (folder / FOLDER / f"{name}.json").unlink(missing_ok=True)
    return {name: row for name, row in rows.items() if row["status"] != "failed"}
