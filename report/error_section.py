"""The place of the error: in the worst case's output, and along the network's modules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..validate.error_map import ErrorMap
from ..validate.place import Boundary, Place
from ..validate.verdict import StageResult, Verdict
from .scale import Bar, LogAxis, Mark, number
from .verdict_section import ROUNDINGS, limit_of, worst_comparison

# Steps of the map, each as many times the one before, from the largest error down to so small a share of it.
STEPS = 6
SMALLEST_SHARE = 1e-4
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
    roundings: str


@dataclass(frozen=True)
class MapSection:
    """The error map of the worst case."""

    stage: str
    case: str
    output: str
    where: str
    plane: str
    width: int
    height: int
    levels: tuple[Level, ...]
    worst: tuple[int, int]
    cells: tuple[Cell, ...]
    floor: str
    total: int


def map_section(verdicts: Sequence[Verdict]) -> MapSection | None:
    """The map of the worst comparison of any verdict; None if no verdict holds one."""
    found = worst_comparison([stage for verdict in verdicts for stage in verdict.stages])
    if found is None or found[2].error_map is None:
        return None
    stage, case, comparison = found
    shown = comparison.error_map
    assert shown is not None
    cells = [(value, row, column) for row, values in enumerate(shown.cells) for column, value in enumerate(values)]
    largest = max(cells, key=lambda cell: cell[0])
    listed = sorted(cells, key=lambda cell: -cell[0])[:MOST_LISTED]
    return MapSection(
        stage=stage.label,
        case=case,
        output=comparison.output,
        where=comparison.detail,
        plane=_plane(shown),
        width=len(shown.cells[0]),
        height=len(shown.cells),
        levels=_levels(cells, shown.floor),
        worst=(largest[1], largest[2]),
        cells=tuple(_cell(shown, *cell) for cell in listed),
        floor=number(shown.floor),
        total=len(cells),
    )


def _plane(shown: ErrorMap) -> str:
    """The plane as an index of the output: ``[0, 12, 0:56, 0:56]``."""
    rows, columns = shown.shape
    parts = [*map(str, shown.fixed), *([f"0:{rows}"] if rows > 1 or shown.fixed else []), f"0:{columns}"]
    return f"[{', '.join(parts)}]"


def _roundings(value: float, floor: float) -> float:
    if floor > 0:
        return value / floor
    return math.inf if value else 0.0


def _levels(cells: Sequence[tuple[float, int, int]], floor: float) -> tuple[Level, ...]:
    ratios = [(_roundings(value, floor), row, column) for value, row, column in cells]
    ends = _steps([ratio for ratio, _, _ in ratios])
    found: dict[int, list[tuple[int, int]]] = {}
    for ratio, row, column in ratios:
        place = len(ends) - 1 if math.isnan(ratio) else sum(ratio > end for end in ends[:-1])
        found.setdefault(place + STEPS - len(ends), []).append((row, column))
    between = (f"{number(low)} to {number(high)}" for low, high in itertools.pairwise(ends))
    words = [f"up to {number(ends[0])}", *between]
    paths = {place: "".join(f"M{column} {row}h1v1h-1z" for row, column in inside) for place, inside in found.items()}
    return tuple(
        Level(place, words[place - STEPS + len(ends)], paths[place], len(found[place])) for place in sorted(found)
    )


def _steps(ratios: Sequence[float]) -> list[float]:
    """Return the upper end of each step of the map, the largest last; one step if all cells are alike."""
    positive = [ratio for ratio in ratios if math.isfinite(ratio) and ratio > 0]
    if not positive:
        return [max((ratio for ratio in ratios if not math.isnan(ratio)), default=math.inf)]
    top = max(positive)
    bottom = max(min(positive), top * SMALLEST_SHARE)
    if top < 1.01 * bottom:
        return [top]
    ends = [bottom * (top / bottom) ** (place / STEPS) for place in range(1, STEPS)]
    return [*ends, math.inf if any(math.isinf(ratio) for ratio in ratios) else top]


def _cell(shown: ErrorMap, value: float, row: int, column: int) -> Cell:
    return Cell(
        rows=_range(row, len(shown.cells), shown.shape[0]),
        columns=_range(column, len(shown.cells[0]), shown.shape[1]),
        error=number(value),
        roundings=number(_roundings(value, shown.floor)),
    )


def _range(cell: int, cells: int, size: int) -> str:
    first, last = cell * size // cells, (cell + 1) * size // cells - 1
    return str(first) if first >= last else f"{first} to {last}"


@dataclass(frozen=True)
class BoundaryRow:
    """One tensor at a module's boundary, beside PyTorch's."""

    module: str
    kind: str
    status: str
    ratio: str
    bar: Bar


@dataclass(frozen=True)
class NetworkSection:
    """The error at every boundary of a failed stage, in the order in which PyTorch comes by them."""

    stage: str
    why: str
    module: str
    class_name: str
    source: str
    node: str
    rows: tuple[BoundaryRow, ...]
    ticks: tuple[Mark, ...]


def network_sections(verdicts: Sequence[Verdict]) -> tuple[NetworkSection, ...]:
    """One section for each failed stage of which the place was found."""
    stages = [stage for verdict in verdicts for stage in verdict.stages]
    return tuple(_network(stage, stage.place) for stage in stages if stage.place is not None)


@dataclass(frozen=True)
class AlongSection:
    """The error of one graph where data leaves modules, which nobody judged."""

    stage: str
    rows: tuple[BoundaryRow, ...]
    ticks: tuple[Mark, ...]


def along_sections(entry: Mapping[str, Sequence[str]]) -> tuple[AlongSection, ...]:
    """One section for each stage of what ``validate --network`` keeps. Raises ValueError if it is none of that."""
    mark = ROUNDINGS.mark(1.0, "floor")
    return tuple(
        AlongSection(
            stage,
            tuple(_boundary(Boundary.from_text(line), ROUNDINGS, (mark,)) for line in lines),
            ROUNDINGS.ticks,
        )
        for stage, lines in entry.items()
    )


def _network(stage: StageResult, place: Place) -> NetworkSection:
    limit = limit_of(stage.stage)
    axis = ROUNDINGS
    marks = (axis.mark(1.0, "floor"), axis.mark(limit, "limit"))
    return NetworkSection(
        stage=stage.label,
        why=stage.why,
        module=place.module or "the model itself",
        class_name=place.class_name,
        source=place.source,
        node=" ".join(filter(None, [place.node, place.op_type and f"({place.op_type})"])),
        rows=tuple(_boundary(one, axis, marks) for one in place.boundaries),
        ticks=axis.ticks,
    )


def _boundary(found: Boundary, axis: LogAxis, marks: tuple[Mark, ...]) -> BoundaryRow:
    unknown = found.status == "unknown"
    return BoundaryRow(
        module=found.module or "the model itself",
        kind={"enter": "input", "leave": "output"}[found.kind],
        status=found.status,
        ratio="not found in the graph" if unknown else number(found.ratio),
        bar=Bar(0.0, 0.0, marks) if unknown else axis.bar(found.ratio, *marks, is_bad=found.status == "wrong"),
    )
