"""Estimate how long a step will take: the longest of its kind until now, or a guess from earlier machines."""

from __future__ import annotations

from collections.abc import Mapping

from .rows import Row
from .work import Kind, Step, cases

# Seconds, of a block and of a network: TensorRT 8.6.0 on an H200 with five builds at a time on 16 cores.
FIRST_GUESS: dict[Kind, tuple[float, float]] = {
    "export": (60.0, 90.0),
    "build": (90.0, 180.0),
    "plain": (60.0, 120.0),
    "compile": (60.0, 120.0),
    "copies": (10.0, 10.0),
    "time": (15.0, 20.0),
    "pytorch": (20.0, 30.0),
}
MARGIN = 1.1
Like = tuple[str, ...]


class Estimates:
    """Seconds that steps take, from the rows of those that are over."""

    def __init__(self, rows: Mapping[str, Row], steps: Mapping[str, Step]) -> None:
        self._longest: dict[Like, float] = {}
        for name, row in rows.items():
            if name in steps:
                self.learn(steps[name], row)

    def learn(self, step: Step, row: Row) -> None:
        """Take a step into account that has ended well; what fails may fail early."""
        if row.get("status") != "done" or not isinstance(row.get("seconds"), int | float):
            return
        for like in _likes(step):
            self._longest[like] = max(self._longest.get(like, 0.0), float(row["seconds"]))

    def of(self, step: Step) -> float:
        """Seconds that the step will probably not exceed."""
        known = next((self._longest[like] for like in _likes(step) if like in self._longest), None)
        if known is not None:
            return MARGIN * known
        block, network = FIRST_GUESS[step.kind]
        return block if _is_block(step) else network


class AtOnce(Estimates):
    """No step waits for its seconds: the first rows must come, and what is stopped is listed."""

    def of(self, step: Step) -> float:
        """Return the seconds that are kept for the step."""
        return 0.0


def _likes(step: Step) -> tuple[Like, Like]:
    """The steps that it resembles, first those that it resembles most."""
    family = "block" if _is_block(step) else "network"
    return (step.kind, family, step.precision), (step.kind, family)


def _is_block(step: Step) -> bool:
    known = cases()
    return step.case in known and known[step.case].is_block
