"""The cost of a block in one list, from what was measured down to its limit: for the table and the plot."""

from __future__ import annotations

from dataclasses import dataclass

from ..engines.timing.costs import Added, Cost
from ..engines.timing.paired import Difference


@dataclass(frozen=True)
class Line:
    """One number in milliseconds, with its interval if it has one; ``measured`` or a limit.

    ``control`` is measured without a block.
    """

    text: str
    ms: float
    measured: bool = True
    interval: tuple[float, float] | None = None
    control: bool = False


def summary(found: Cost) -> list[Line]:
    """The lines of a block in a backbone, or of a graph alone; the last one is the least that it can cost."""
    return _alone(found) if found.added is None else _added(found, found.added)


def _alone(found: Cost) -> list[Line]:
    timing, limit = found.model.timing, found.model.limit
    return [
        Line("measured, inputs in turn", timing.latency.median_ms),
        Line("measured, the same input", timing.hot.median_ms),
        Line("limit, operators", limit.operators_ms, measured=False),
        Line("limit, fused", limit.least_ms, measured=False),
    ]


def _added(found: Cost, added: Added) -> list[Line]:
    total = added.profile.total
    count = sum(block.count for block in added.blocks)
    blocks = f"{count} block{'s' if count != 1 else ''}"
    lines = [
        _difference("measured difference", added.difference),
        _difference("the backbone against itself", added.control, control=True),
        Line("profile: the block's operators", total.block_ms),
        Line("profile: layouts", total.more_layout_ms),
        Line("profile: the backbone's operators", total.more_rest_ms),
    ]
    if not added.blocks:
        return lines
    return [
        *lines,
        Line(f"{blocks} alone", added.blocks_alone_ms(found.rates.call_ms)),
        Line(f"limit of {blocks}, operators", added.blocks_operators_ms, measured=False),
        Line(f"limit of {blocks}, fused", added.blocks_least_ms, measured=False),
    ]


def _difference(text: str, found: Difference, *, control: bool = False) -> Line:
    return Line(text, found.ms, interval=(found.low_ms, found.high_ms), control=control)
