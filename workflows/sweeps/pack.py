"""Folders as names and bytes, to be sent from machine to machine; what arrives is checked before it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.manifest import is_inside
from ...errors import StorageError

Packed = Mapping[str, tuple[str, bytes]]  # by path in the folder: the SHA-256 and the content
HIDDEN = "."  # what a command had not finished, or its scratch


def pack(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Return every regular file in a folder and below; links and what is hidden are left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file() or any(part.startswith(HIDDEN) for part in Path(name).parts):
            continue
        content = path.read_bytes()
        found[name] = (hashlib.sha256(content).hexdigest(), content)
    return found


def unpack(packed: Any, folder: Path) -> None:
    """Write files into a folder that nothing else writes to.

    Nothing is written unless every name stays in the folder and every content has its hash. Raises StorageError for
    what does not.
    """
    files = _checked(packed)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:  # over nothing, a link least of all
            stream.write(content)


def _checked(packed: Any) -> dict[str, bytes]:
    if not isinstance(packed, dict):
        raise StorageError(f"received files as {type(packed).__name__}; expected names and contents; run the job again")
    found = {}
    for name, entry in packed.items():
        if not isinstance(name, str) or not is_inside(name):
            raise StorageError(
                f"received a file named {name!r}; expected a path inside of its folder; run the job again"
            )
        if not (isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[1], bytes)):
            raise StorageError(f"received {name} without its content; expected its hash and bytes; run the job again")
        digest, content = entry
        if hashlib.sha256(content).hexdigest() != digest:
            raise StorageError(f"received {name} with another content than was sent; run the job again")
        found[name] = content
    return found
