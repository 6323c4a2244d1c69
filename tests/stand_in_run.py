"""A run on a GPU whose steps are stand-ins (gpu_run/stand_in_step.py): its folder, its arguments, what happened."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

STAND_IN = Path(__file__).parent / "gpu_run" / "stand_in_step.py"


def folder_of(parent: Path, behaviour: Mapping[str, Any]) -> Path:
    """Return the folder of a run whose steps behave so."""
    (path := parent / "run").mkdir()
    (path / "behaviour.json").write_text(json.dumps(behaviour))
    return path


def events(folder: Path) -> list[dict[str, Any]]:
    """Return the beginnings and ends of steps, in order."""
    file = folder / "events"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def parsed(tool: ModuleType, folder: Path, *words: str) -> argparse.Namespace:
    """Return the arguments of a tool for a run of 20 minutes in the folder."""
    found: argparse.Namespace = tool.parse([str(folder), "--minutes", "20", *words])
    return found
