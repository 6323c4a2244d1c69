"""Temporary folders. One that a killed command left is removed by the next command, whatever that does."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .lock import Lock, abandoned, owner, try_lock

log = logging.getLogger(__name__)
NAME = re.compile(r"attn2trt-[a-z]+-\w+\.scratch-\d+-[0-9a-f]{8}")


@contextlib.contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """Make a folder where the system keeps temporary files, and remove it in the end; ``kind`` is a word for its name.

    Only the process that made it removes it: a copy that user code forks off leaves it alone.
    """
    remove_abandoned()
    process = os.getpid()
    folder, lock = _locked(kind)
    try:
        yield folder
    finally:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()


def remove_abandoned() -> None:
    """Remove the temporary folders of this user in which no process works any more."""
    if not hasattr(os, "getuid"):
        return
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as found:
        for entry in found:
            if NAME.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # another command may remove it as well
                    _remove_if_abandoned(entry)


def _remove_if_abandoned(entry: os.DirEntry[str]) -> None:
    if not entry.is_dir(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_uid != os.getuid():
        return
    with abandoned(Path(entry.path)) as is_abandoned:
        if is_abandoned:
            log.info("remove %s, which a killed command left", entry.path)
            shutil.rmtree(entry.path, ignore_errors=True)


def _locked(kind: str) -> tuple[Path, Lock]:
    """Make a folder and lock it; another command may take it for abandoned before it is locked, and remove it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"attn2trt-{kind}-", suffix=f".scratch-{owner()}"))
        with contextlib.suppress(FileNotFoundError):
            lock = try_lock(folder)
            if lock is not None and _is_there(folder, lock):
                return folder, lock


def _is_there(folder: Path, lock: Lock) -> bool:
    """Return True if ``folder`` is still the one that is locked."""
    if lock.descriptor is None or folder.stat().st_ino == os.fstat(lock.descriptor).st_ino:
        return True
    lock.release()
    return False
