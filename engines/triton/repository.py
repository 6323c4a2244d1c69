"""A model repository on disk: models are written under a hidden name, and each is put in its place in one step."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...core.destination import ELSEWHERE, check_outside_bundles, check_parents
from ...core.exchange import exchange
from ...core.hidden_folder import shortened
from ...core.lock import is_abandoned, locked, owner, try_lock
from ...errors import InputError
from .folder import require_own

PARTIAL = ".attn2trt.partial-"
_OWNER = re.compile(r"\.\d+-[0-9a-f]{8}")


def check_place(destination: Path, names: Sequence[str], *, add: bool) -> None:
    """Raise InputError unless models of these names can be put there and nothing else is lost or mixed with them.

    Without ``add`` the repository is absent, empty, or holds models of these names alone that this tool wrote.
    """
    if not os.path.lexists(destination):
        check_parents(destination)
        return
    if not destination.is_dir():
        raise InputError(f"{destination} is no folder; a model repository is one; {ELSEWHERE}")
    check_outside_bundles(destination, destination)
    there = {entry.name for entry in destination.iterdir() if not entry.name.startswith(PARTIAL)}
    if not add and (others := sorted(there - set(names))):
        raise InputError(
            f"{destination} holds {others[0]!r}{f' and {len(others) - 1} more' if len(others) > 1 else ''} beside what "
            f"this command writes; --add puts {', '.join(names)} beside what is there, or {ELSEWHERE}"
        )
    for name in sorted(there & set(names)):
        require_own(destination / name)


@contextlib.contextmanager
def repository(destination: Path, names: Sequence[str], *, add: bool) -> Iterator[Path]:
    """Yield a hidden folder for the models; when the block ends without an error, they are put in their place.

    Killed before that, nothing has changed but for the hidden folder, which the next command removes. It lies beside
    the repository if it can: Triton takes every folder in a repository for a model, and may refuse to start.
    """
    check_place(destination, names, add=add)
    made = [folder for folder in (destination, *destination.parents) if not folder.exists()]
    destination.mkdir(parents=True, exist_ok=True)
    real = destination.resolve()  # it may be a link
    home, prefix = _staging_place(real), f"{PARTIAL}{shortened(real.name, 200)}-"
    with locked(real):
        for left in home.glob(f"{glob.escape(prefix)}*"):
            if _OWNER.fullmatch(left.name[len(prefix) :]) and not left.is_symlink() and is_abandoned(left):
                shutil.rmtree(left, ignore_errors=True)
        hidden = home / f"{prefix}.{owner()}"
        hidden.mkdir()
        lock = try_lock(hidden)
    try:
        yield hidden
        with locked(real):
            check_place(destination, names, add=add)  # something may have been put there meanwhile
            for name in names:
                _put(hidden / name, real / name)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if lock is not None:
            lock.release()
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: the models are there
                folder.rmdir()


def _staging_place(destination: Path) -> Path:
    """Return the folder above the repository, or the repository if nothing can be moved from there into it."""
    above = destination.parent
    is_apart = destination.is_mount() or above.stat().st_dev != destination.stat().st_dev
    return destination if is_apart or not os.access(above, os.W_OK | os.X_OK) else above


def _put(model: Path, place: Path) -> None:
    """Put a model's folder in its place. The one before it is then in the hidden folder, which goes."""
    if place.exists() and exchange(model, place):
        return
    if place.exists():
        place.rename(model.with_name(f"{model.name}.replaced"))
    model.rename(place)
