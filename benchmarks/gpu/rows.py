"""One file for each step that is over, written the moment that it is known: a run that is killed leaves them all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FOLDER = "rows"


def write_json(path: Path, value: Any) -> None:
    """Put ``value`` in the file's place in one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_row(folder: Path, row: Row) -> None:
    """Keep what a step found, by the step's name."""
    write_json(folder / FOLDER / f"{row['step']}.json", row)


def read_row(folder: Path, step: str, setting: str | None = None) -> Row | None:
    """The row of a step; None if there is none that can be read, or none of this setting.

    A row of another setting was measured with other code, on another GPU or with another TensorRT.
    """
    try:
        row = json.loads((folder / FOLDER / f"{step}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(row, dict) or row.get("step") != step:
        return None
    return row if setting in (None, row.get("setting")) else None


def read_rows(folder: Path) -> dict[str, Row]:
    """Every row by its step's name."""
    found = {path.stem: read_row(folder, path.stem) for path in sorted((folder / FOLDER).glob("[!.]*.json"))}
    return {name: row for name, row in found.items() if row is not None}
