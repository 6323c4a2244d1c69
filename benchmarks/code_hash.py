"""The hash of the code by which a benchmark that takes up an earlier run knows it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def of_several_versions(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the note of a page whose rows were measured with different code."""
    if len({row.get("sources") for row in rows}) < 2:
        return []
    return ["", "Some rows were measured with an earlier version of the code than others, each row in one run."]


def code_hash(rooms: Sequence[str]) -> str:
    """Return the SHA-256 of the Python files of the package's ``rooms`` and of its top."""
    top = sorted(ROOT.glob("*.py"))
    inside = [file for room in rooms for file in sorted((ROOT / room).rglob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in [*top, *inside])).hexdigest()
