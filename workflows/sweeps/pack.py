"""Folders as names and bytes, to be sent from machine to machine; what arrives is checked before it is written."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from pickle import PickleBuffer
from typing import Any

from ...core.manifest import MANIFEST, is_inside, read_manifest
from ...errors import InputError, StorageError

# By path in the folder: the SHA-256 and the content, as a buffer that Ray neither copies nor pickles.
Packed = Mapping[str, tuple[str, PickleBuffer]]
HIDDEN = "."  # what a command had not finished, or its scratch


def pack(folder: Path) -> dict[str, tuple[str, PickleBuffer]]:
    """Return every regular file in a folder and below; links and what is hidden are left out.

    The hash of a bundle's file is that of the manifest, so that what arrives is what the bundle's command wrote.
    """
    found = {}
    listed = _listed(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file() or any(part.startswith(HIDDEN) for part in Path(name).parts):
            continue
        content = _content(path)
        found[name] = (listed.get(name) or hashlib.sha256(content).hexdigest(), PickleBuffer(content))
    return found


def _content(path: Path) -> bytes | mmap.mmap:
    """Return the content of a file, which stays after the file has been removed; it is read when it is used."""
    with path.open("rb") as stream:
        if not path.stat().st_size:
            return b""  # nothing can be mapped
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _listed(folder: Path) -> dict[str, str]:
    """Return the hash of each file that a manifest in the folder or below lists."""
    found: dict[str, str] = {}
    for manifest in folder.rglob(MANIFEST):
        try:
            entries = read_manifest(manifest)["files"]
        except (InputError, OSError):  # whoever opens the bundle says so
            continue
        place = manifest.parent.relative_to(folder)
        found |= {(place / name).as_posix(): entry["sha256"] for name, entry in entries.items()}
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


def _checked(packed: Any) -> dict[str, memoryview]:
    if not isinstance(packed, dict):
        raise StorageError(f"received files as {type(packed).__name__}; expected names and contents; run the job again")
    found = {}
    for name, entry in packed.items():
        if not isinstance(name, str) or not is_inside(name):
            raise StorageError(
                f"received a file named {name!r}; expected a path inside of its folder; run the job again"
            )
        try:
            digest, content = entry[0], memoryview(entry[1])
        except (TypeError, LookupError):
            raise StorageError(
                f"received {name} without its content; expected its hash and bytes; run the job again"
            ) from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise StorageError(f"received {name} with another content than was sent; run the job again")
        found[name] = content
    return found
