"""Read a bundle as it is at one moment, though another command may replace or change it meanwhile."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..errors import Attn2trtError, StorageError
from .bundle import Folder, open_bundle

TRIES = 5
MAY_CHANGE = ".kernels"  # compiled for a plan while it is read, and listed then

More = ParamSpec("More")
Found = TypeVar("Found")


def steady(
    read: Callable[Concatenate[Folder, More], Found],
) -> Callable[Concatenate[Folder, More], Found]:
    """Have ``read``, whose first argument is a bundle's folder, begin again if the bundle changed before it ended.

    Its result or error then concerns two bundles and neither. Raises StorageError after some tries.
    """

    @functools.wraps(read)
    def again(path: Folder, /, *arguments: More.args, **options: More.kwargs) -> Found:
        for _ in range(TRIES):
            before = _identity(path)
            try:
                found = read(path, *arguments, **options)
            except (Attn2trtError, OSError):
                if _is_same(path, before):
                    raise
                continue
            if _is_same(path, before):
                return found
        raise StorageError(
            f"{path} was replaced {TRIES} times while it was read; expected it to stay; run this again when nothing "
            "writes it"
        )

    return again


Identity = tuple[int, int, Mapping[str, Any]] | None


def _identity(path: Folder) -> Identity:
    """Return the folder and the files that its manifest lists; None if there is no bundle."""
    try:
        about = Path(path).stat()
        return about.st_dev, about.st_ino, open_bundle(path).manifest["files"]
    except (Attn2trtError, OSError):
        return None


def _is_same(path: Folder, before: Identity) -> bool:
    """Return True if it is the folder of ``before``, and each file that it listed is listed with the same hash."""
    after = _identity(path)
    if before is None or after is None:
        return before is after
    kept = {name: entry for name, entry in before[2].items() if not name.endswith(MAY_CHANGE)}
    return before[:2] == after[:2] and all(after[2].get(name) == entry for name, entry in kept.items())
