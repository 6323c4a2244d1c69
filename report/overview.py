"""Several bundles beside each other: a row for each fact, a column for each bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .bundle_view import BundleView
from .scale import Bar

# The kinds of a stage, the worst last.
SEVERITY = ("good", "note", "warn", "bad")


@dataclass(frozen=True)
class OverviewCell:
    """The cells of one bundle's row."""

    text: str
    kind: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class OverviewRow:
    """A fact, bundle by bundle."""

    name: str
    cells: tuple[OverviewCell, ...]


def overview(views: Sequence[BundleView]) -> tuple[OverviewRow, ...]:
    """The rows: the verdict, then every stage that a bundle has, then what was measured."""
    stages = dict.fromkeys(row.stage for view in views for row in view.verdict.stages)
    rows = [OverviewRow("verdict", tuple(_verdict(view) for view in views))]
    rows += [OverviewRow(stage, tuple(_stage(view, stage) for view in views)) for stage in stages]
    rows += [OverviewRow("the blocks add, ms", tuple(_added(view) for view in views))]
    rows += [OverviewRow("fastest here, ms", tuple(_fastest(view) for view in views))]
    rows += [OverviewRow("float32 graph", tuple(_graph(view) for view in views))]
    return tuple(rows)


def _verdict(view: BundleView) -> OverviewCell:
    return OverviewCell("✓ passed" if view.verdict.passed else "✗ not passed", "good" if view.verdict.passed else "bad")


def _stage(view: BundleView, stage: str) -> OverviewCell:
    # several plans may have one label: the worst of them counts
    rows = (row for row in view.verdict.stages if row.stage == stage)
    found = max(rows, key=lambda row: SEVERITY.index(row.kind), default=None)
    if found is None:
        return OverviewCell("\N{EN DASH}", "note")
    ratio = f" {found.ratio}" if found.ratio and found.bar is not None else ""
    return OverviewCell(f"{found.sign} {found.status}{',' * bool(ratio)}{ratio}", found.kind, found.bar)


def _added(view: BundleView) -> OverviewCell:
    rows = () if view.cost is None else view.cost.rows
    found = next((row for row in rows if row.name == "the blocks add"), None)
    return OverviewCell("not measured" if found is None else f"{found.ms} ({found.interval})")


def _fastest(view: BundleView) -> OverviewCell:
    rows = () if view.latency is None else view.latency.rows
    found = min(rows, key=lambda row: float(row.median), default=None)
    return OverviewCell("not measured" if found is None else f"{found.median} ({found.runtime}, batch {found.batch})")


def _graph(view: BundleView) -> OverviewCell:
    return OverviewCell(next((file.size for file in view.files if file.name == "model.onnx"), ""))
