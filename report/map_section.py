"""The place of the error in the output of the worst case, as a grid and as a table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..validate.error_map import ErrorMap
from ..validate.verdict import Verdict
from .scale import number
from .verdict_section import worst_comparison

# Steps of the map, each as many times the one before, from the largest error down to so small a share of it.
STEPS = 6
SMALLEST_SHARE = 1e-4
# The number of the step behind the last one, of cells that are not finite.
NOT_FINITE = STEPS
MOST_LISTED = 12


@dataclass(frozen=True)
class Level:
    """All cells of the map between two numbers: a path that draws them, and how many there are."""

    number: int
    words: str
    path: str
    count: int


@dataclass(frozen=True)
class Cell:
    """One cell: the rows and columns of the output that it stands for, and the largest error in it."""

    rows: str
    columns: str
    error: str
    share: str


@dataclass(frozen=True)
class MapSection:
    """The error map of the worst case; its numbers are in ``unit``."""

    stage: str
    case: str
    output: str
    where: str
    plane: str
    unit: str
    floor: str
    width: int
    height: int
    levels: tuple[Level, ...]
    worst: tuple[int, int]
    cells: tuple[Cell, ...]
    total: int


def map_section(verdicts: Sequence[Verdict]) -> MapSection | None:
    """Return the map of the worst comparison of any verdict; None if no verdict holds one."""
    found = worst_comparison([stage for verdict in verdicts for stage in verdict.stages])
    if found is None or found[2].error_map is None:
        return None
    stage, case, comparison = found
    shown = comparison.error_map
    assert shown is not None
    # PyTorch itself may have no error there, or none that is finite
    is_in_floors = math.isfinite(shown.floor) and shown.floor > 0
    unit = shown.floor if is_in_floors else 1.0
    cells = [
        (value / unit, row, column) for row, values in enumerate(shown.cells) for column, value in enumerate(values)
    ]
    ordered = sorted(cells, key=lambda cell: (math.isfinite(cell[0]), -cell[0] if math.isfinite(cell[0]) else 0.0))
    return MapSection(
        stage=stage.label,
        case=case,
        output=comparison.output,
        where=comparison.detail,
        plane=_plane(shown),
        unit="roundings" if is_in_floors else "of the largest number",
        floor=number(shown.floor),
        width=len(shown.cells[0]),
        height=len(shown.cells),
        levels=_levels(cells),
        worst=ordered[0][1:],
        cells=tuple(_cell(shown, *cell) for cell in ordered[:MOST_LISTED]),
        total=len(cells),
    )


def _plane(shown: ErrorMap) -> str:
    """Return the plane as an index of the output: ``[0, 12, 0:56, 0:56]``."""
    rows, columns = shown.shape
    parts = [*map(str, shown.fixed), *([f"0:{rows}"] if rows > 1 or shown.fixed else []), f"0:{columns}"]
    return f"[{', '.join(parts)}]"


def _levels(cells: Sequence[tuple[float, int, int]]) -> tuple[Level, ...]:
    ends = _steps([share for share, _, _ in cells if math.isfinite(share)])
    found: dict[int, list[tuple[int, int]]] = {}
    for share, row, column in cells:
        step = sum(share > end for end in ends[:-1]) + STEPS - len(ends) if math.isfinite(share) else NOT_FINITE
        found.setdefault(step, []).append((row, column))
    between = (f"{number(low)} to {number(high)}" for low, high in itertools.pairwise(ends))
    first = f"up to {number(ends[0])}" if ends else ""
    words = dict(enumerate([first, *between], start=STEPS - len(ends))) | {NOT_FINITE: "not finite"}
    paths = {step: "".join(f"M{column} {row}h1v1h-1z" for row, column in inside) for step, inside in found.items()}
    return tuple(Level(step, words[step], paths[step], len(found[step])) for step in sorted(found))


def _steps(shares: Sequence[float]) -> list[float]:
    """Return the upper end of each step of the map, the largest last; one step if all cells are alike."""
    top = max(shares, default=math.nan)
    positive = [share for share in shares if share > 0]
    if not positive:
        return [top] if shares else []
    bottom = max(min(positive), top * SMALLEST_SHARE)
    if top < 1.01 * bottom:
        return [top]
    return [*(bottom * (top / bottom) ** (place / STEPS) for place in range(1, STEPS)), top]


def _cell(shown: ErrorMap, share: float, row: int, column: int) -> Cell:
    return Cell(
        rows=_range(row, len(shown.cells), shown.shape[0]),
        columns=_range(column, len(shown.cells[0]), shown.shape[1]),
        error=number(shown.cells[row][column]),
        share=number(share),
    )


def _range(cell: int, cells: int, size: int) -> str:
    first, last = cell * size // cells, (cell + 1) * size // cells - 1
    return str(first) if first >= last else f"{first} to {last}"
