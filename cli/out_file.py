"""A file that a command writes: checked before the work is done, and written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, StorageError
from .output import strict


def check_file(out: Path | None, *, option: str = "-o", example: str) -> None:
    """Raise now what would otherwise lose the numbers when they are written."""
    if out is None:
        return
    if out.is_dir() or not out.parent.is_dir():
        what = "a folder" if out.is_dir() else "a file in a folder that does not exist"
        raise InputError(
            f"received {option} {out}, {what}; expected the name of a file; give one, as {option} {example}"
        )
    if not os.access(out.parent, os.W_OK):
        raise StorageError(
            f"received {option} {out}; expected a folder that can be written to; choose another with {option}"
        )


def write_document(out: Path, document: Mapping[str, Any]) -> None:
    """Write JSON."""
    text = json.dumps(strict(document), indent=1) + "\n"
    write_whole(out, lambda path: path.write_text(text, encoding="utf-8"))


def write_whole(out: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` make the whole file or none; what it writes to has the suffix of ``out``."""
    partial = out.with_name(f".partial-{os.getpid()}-{out.name}")
    try:
        write(partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
