"""The error along the network's modules: of a failed stage beside PyTorch, and of every graph beside float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..validate.place import Boundary, Place
from ..validate.verdict import StageResult, Verdict
from .scale import Bar, LogAxis, Mark, number
from .verdict_section import ROUNDINGS, limit_of


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


def network_sections(verdicts: Sequence[Verdict], classes: Mapping[str, tuple[str, str]]) -> tuple[NetworkSection, ...]:
    """Return a section for each failed stage of which the place was found.

    ``classes`` has the class of each module and its line, for places that were found without the code.
    """
    stages = [stage for verdict in verdicts for stage in verdict.stages]
    return tuple(_network(stage, _with_class(stage.place, classes)) for stage in stages if stage.place is not None)


def _with_class(place: Place, classes: Mapping[str, tuple[str, str]]) -> Place:
    if place.class_name or place.module not in classes:
        return place
    name, source = classes[place.module]
    return replace(place, class_name=name, source=source)


@dataclass(frozen=True)
class AlongSection:
    """The error of one graph at the outputs of its modules, which nobody judged."""

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
    limit = limit_of(stage)
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
