"""A folder of the user's that a command fills: it is there whole in the end, or all is as it was before."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .lock import owner


def require_free(destination: Path) -> None:
    """Raise InputError unless ``destination`` is absent or an empty folder."""
    if not all(folder.is_dir() for folder in destination.parents if folder.exists()):
        raise InputError(f"{destination} lies below a file; give another folder with -o")
    if os.path.lexists(destination) and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError(f"{destination} is not empty; expected a folder of its own; give another one with -o")


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of ``destination`` in the end, and goes if what happens inside fails."""
    made = [folder for folder in destination.parents if not folder.exists()]
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name}.partial-{owner()}")
    try:
        partial.mkdir()
        yield partial
        if destination.exists():
            destination.rmdir()
        partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: what was written is there
                folder.rmdir()
