"""Folders in which commands make what takes a place beside them: their names, and those that killed commands left."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from .lock import is_abandoned, owner

LONGEST_NAME = 255  # of a file, in bytes, in every file system that is common


def hidden(destination: Path, kind: str) -> Path:
    """Return a name beside ``destination`` for what this process keeps there; one that is too long is shortened."""
    ending = f".{kind}-{owner()}"
    return destination.with_name(_stem(destination, len(ending)) + ending)


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """Return a name that is no longer than ``longest`` bytes: the same, or its beginning and that of its hash."""
    encoded = os.fsencode(name)
    if len(encoded) <= longest:
        return name
    return f"{encoded[:40].decode('ascii', 'replace')}-{hashlib.sha256(encoded).hexdigest()[:8]}"


def left_by_killed(destination: Path) -> Iterator[Path]:
    """Yield what commands for this destination left when they were killed, the latest first."""
    pattern = re.compile(re.escape(_stem(destination)) + r"\.(?:partial|replaced)-\d+(?:-[0-9a-f]{8})?")
    found = {}
    for path in destination.parent.iterdir():
        if pattern.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # a running command may put its folder in place meanwhile
                found[path] = path.lstat().st_mtime
    for path in sorted(found, key=lambda path: found[path], reverse=True):
        if path.is_dir() and not path.is_symlink() and is_abandoned(path):
            yield path


def _stem(destination: Path, ending: int = 40) -> str:
    return f".{shortened(destination.name, LONGEST_NAME - ending - 1)}"
