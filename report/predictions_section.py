"""Predictions on a data set as a page shows them, read from what ``validate`` kept in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..validate.stages.stage import read_stage
from .predictions_table import allowance

SIGNS = {"passed": "✓", "failed": "✗", "compared": "◇", "not compared": "\N{EN DASH}"}
KINDS = {"passed": "good", "failed": "bad", "compared": "note", "not compared": "note"}


@dataclass(frozen=True)
class ChangeRow:
    """One image whose prediction changed."""

    image: str
    margin: str
    reference: str
    found: str
    tie: str


@dataclass(frozen=True)
class PredictionRow:
    """One runtime; ``scores`` are in the order of the section's."""

    runtime: str
    sign: str
    kind: str
    outcome: str
    changed: str
    interval: str
    scores: tuple[str, ...]
    why: str
    changes: tuple[ChangeRow, ...]


@dataclass(frozen=True)
class PredictionsSection:
    """The runtimes beside the reference, and what they were compared on.

    Attributes:
        about: What was read and compared, as pairs of a name and a text.
        scores: The names of the metrics by the labels.
        reference: The reference's, in the same order.
        rows: The runtimes.
    """

    about: tuple[tuple[str, str], ...]
    scores: tuple[str, ...]
    reference: tuple[str, ...]
    rows: tuple[PredictionRow, ...]


def predictions_section(entry: Mapping[str, Any]) -> PredictionsSection:
    """Return the section. Raises KeyError, TypeError or ValueError for an entry that validate did not write."""
    names = tuple(map(str, entry["scores"]))
    about = [(name, str(entry[name])) for name in ("dataset", "metric", "reference", "labels") if entry[name]]
    about += [("interval", f"Wilson's, {float(entry['confidence']):.0%}")] if entry.get("confidence") else []
    about += [("not compared", str(entry["why"]))] if entry.get("why") else []
    if entry["max_flips"] is not None:
        about.append(("limit", allowance(float(entry["max_flips"]))))
    about += [("note", str(note)) for note in entry["notes"]]
    if entry["refused_count"]:
        about.append(("not read", f"{int(entry['refused_count'])} images, as {_first(entry['refused'])}"))
    if entry["not_finite_count"]:
        about.append(("not finite", f"the reference is NaN or infinity on {int(entry['not_finite_count'])} images"))
    rows = tuple(_row(runtime, names) for runtime in entry["runtimes"])
    return PredictionsSection(tuple(about), names, tuple(f"{float(entry['scores'][name]):.2%}" for name in names), rows)


def _first(refused: Any) -> str:
    return str(refused[0]["why"])


def _row(entry: Mapping[str, Any], names: tuple[str, ...]) -> PredictionRow:
    outcome = str(entry["outcome"])
    low, high = map(float, entry["interval"])
    was_compared = int(entry["images"]) > 0
    return PredictionRow(
        runtime=read_stage(entry).label,
        sign=SIGNS[outcome],
        kind=KINDS[outcome],
        outcome=outcome,
        changed=f"{int(entry['changed'])} of {int(entry['images'])}" if was_compared else "",
        interval=f"{low:.2%} to {high:.2%}" if was_compared else "",
        scores=tuple(f"{float(entry['scores'][name]):.2%}" if name in entry["scores"] else "" for name in names),
        why=str(entry["why"]),
        changes=tuple(map(_change, entry["changes"])),
    )


def _change(entry: Mapping[str, Any]) -> ChangeRow:
    margin = "" if entry["margin"] is None else f"{float(entry['margin']):.3g}"
    tie = "a tie within float32's own rounding" if entry["tie"] else ""
    return ChangeRow(str(entry["image"]), margin, str(entry["reference"]), str(entry["found"]), tie)
