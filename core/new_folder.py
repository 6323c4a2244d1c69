"""A folder of the user's that a command fills: it is there whole in the end, or all is as it was before."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from .destination import is_filled
from .hidden_folder import hidden, left_by_killed
from .lock import locked, try_lock


def require_free(destination: Path) -> None:
    """Raise InputError unless ``destination`` is absent or an empty folder; StorageError if none can be made there."""
    if is_filled(destination, "what this command writes"):
        raise InputError(f"{destination} is not empty; expected a folder of its own; give another one with -o")


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of ``destination`` in the end, and goes if what happens inside fails.

    What a killed command left of one goes as well. Raises as ``require_free`` does, in the end once more: another
    command may have put something there meanwhile.
    """
    require_free(destination)
    made = [folder for folder in destination.parents if not folder.exists()]
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = hidden(destination, "partial")
    with locked(destination.parent):  # nobody looks between the folder and its lock
        for left in left_by_killed(destination):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir()
        lock = try_lock(partial)
    try:
        yield partial
        with locked(destination.parent):
            require_free(destination)
            if destination.exists():
                destination.rmdir()
            partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if lock is not None:
            lock.release()
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: what was written is there
                folder.rmdir()
