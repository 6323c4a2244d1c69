"""The order in which steps start: as many builds beside each other as there are places, and timings alone.

A timing waits until nothing is built, and nothing is built until it has ended: a builder keeps both the GPU and the
cores busy, and a number taken meanwhile says more about the builder than about the plan. The steps of a wave are builds
first and timings last, so that there are few such changes, and the first numbers come before the later waves are begun.
Steps of the pools that are held are stopped during a timing, not waited for: exports, which use no GPU, and the long
builds of gpu_tune.py.

A step starts only if it can end in time, by what steps of its kind took before, and a build only if the timings that
it is for fit in as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .estimates import Estimates
from .rows import Row
from .work import Pool, Step


class Schedule:
    """The steps that are left to do.

    Args:
        steps: All of them, the most wanted first.
        rows: Of the steps that are over.
        slots: How many steps of each pool may run at once.
        estimates: How long steps take.
        running: Steps that have been started before.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        rows: Mapping[str, Row],
        slots: Mapping[Pool, int],
        estimates: Estimates,
        running: Sequence[Step] = (),
    ) -> None:
        self._steps = {step.name: step for step in steps}
        self._slots = {**slots, "alone": 1}
        self._estimates = estimates
        self._running = {step.name: step for step in running}
        self.rows = {name: row for name, row in rows.items() if name in self._steps}
        self.not_reached: dict[str, str] = {}

    @property
    def waiting(self) -> list[Step]:
        """Steps that have neither started nor been given up."""
        over = {*self.rows, *self.not_reached, *self._running}
        return [step for name, step in self._steps.items() if name not in over]

    @property
    def is_alone(self) -> bool:
        """Return True if a step is running that must run alone."""
        return any(step.pool == "alone" for step in self._running.values())

    def give_up(self, names: Collection[str], why: str) -> None:
        """Note that these steps are not reached."""
        for name in names:
            self._running.pop(name, None)
            self.not_reached[name] = why

    def end(self, name: str, row: Row) -> None:
        """Note what a running step has found."""
        step = self._running.pop(name)
        self.rows[name] = row
        self._estimates.learn(step, row)

    def start(self, left_seconds: float) -> list[Step]:
        """The steps to start now; they count as running until ``end`` or ``give_up``. Empty if it is to wait.

        With nothing running and nothing returned, everything is over.
        """
        started: list[Step] = []
        builds_may_start = True
        for step in self.waiting:
            if self.is_alone or (self._blocked(step) and self._give_up_blocked(step)):
                continue
            if step.pool == "alone":
                if self._is_ready(step) and not self._fits(step, left_seconds):
                    continue
                # What is less wanted may not put off a timing that waits for builds alone.
                builds_may_start = False
                if not self._is_ready(step) or self._count("build") or self._count("light"):
                    continue
            elif not self._may_start(step, builds_may_start) or not self._fits(step, left_seconds):
                continue
            self._running[step.name] = step
            started.append(step)
        return started

    def _may_start(self, step: Step, builds_may_start: bool) -> bool:
        if step.pool in ("build", "light") and not builds_may_start:
            return False
        return self._count(step.pool) < self._slots[step.pool] and self._is_ready(step)

    def _count(self, pool: Pool) -> int:
        return sum(step.pool == pool for step in self._running.values())

    def _is_over(self, name: str) -> bool:
        return name in self.rows or name in self.not_reached or name not in self._steps

    def _has_result(self, name: str) -> bool:
        return name in self.rows and self.rows[name]["status"] == "done"

    def _is_ready(self, step: Step) -> bool:
        return all(self._is_over(name) for name in (*step.needs, *step.one_of, *step.after))

    def _blocked(self, step: Step) -> str:
        """The step for want of whose result this one makes no sense; empty if there is none so far."""
        for name in step.needs:
            if self._is_over(name) and not self._has_result(name):
                return name
        if step.one_of and all(self._is_over(name) and not self._has_result(name) for name in step.one_of):
            return step.one_of[0]
        return ""

    def _give_up_blocked(self, step: Step) -> bool:
        name = self._blocked(step)
        why = self.not_reached.get(name) or self.rows.get(name, {}).get("why") or "no such step"
        self.give_up([step.name], f"{name}: {why}")
        return True

    def _fits(self, step: Step, left_seconds: float) -> bool:
        """Return True if it can end in time together with the timings that it is for; if not, it is given up."""
        needed = self._estimates.of(step) + sum(map(self._estimates.of, self._timings_for(step)))
        if needed <= left_seconds:
            return True
        self.give_up([step.name], f"takes about {needed:.0f} s with what depends on it; {left_seconds:.0f} s were left")
        return False

    def _timings_for(self, step: Step) -> list[Step]:
        """Timings that this build, and those that are running or done, are for."""
        if step.pool != "build":
            return []
        builds = {step.name, *self._running, *self.rows}
        return [
            other
            for other in self.waiting
            if other.pool == "alone"
            and other.wave <= step.wave
            and (builds & {*other.one_of, *other.after} or not other.after)
        ]
