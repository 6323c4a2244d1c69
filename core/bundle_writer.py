"""Write a bundle into a hidden folder beside its place, then let the two change places in one step."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, cast

from ..errors import CheckFailed, InputError
from .bundle import Bundle
from .destination import BESIDE, check_destination, check_owned, check_writable
from .exchange import exchange
from .file_hashes import file_entry
from .hidden_folder import hidden, left_by_killed
from .lock import Lock, locked, try_lock
from .manifest import FORMAT, MANIFEST, manifest_text, read_manifest
from .manifest_entries import FileEntry, Manifest
from .processes import note

log = logging.getLogger(__name__)


class BundleWriter:
    """A folder in which a bundle is made; ``commit`` puts it in its place, where the bundle before it goes at once.

    Use it in a ``with`` statement; without a call of ``commit`` nothing is left behind, and the place is as it was.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.path = hidden(destination, "partial")
        self._made: list[Path] = []
        self._process = os.getpid()
        self._lock = Lock(None)
        self._inode = 0

    def __enter__(self) -> BundleWriter:
        check_destination(self.destination)
        parent = self.destination.parent
        if parent.exists():
            check_writable(parent, self.destination)
        self._made = [folder for folder in self.destination.parents if not folder.exists()]
        parent.mkdir(parents=True, exist_ok=True)
        recover(self.destination)
        with locked(parent):  # nobody looks between the folder and its lock
            note(destination=str(self.destination.absolute()), made=[str(folder.absolute()) for folder in self._made])
            self.path.mkdir()
            self._inode = self.path.stat().st_ino
            self._lock = try_lock(self.path) or Lock(None)
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() != self._process:
            return  # a copy that the module's code forked off; the bundle is the other one's
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                shutil.rmtree(self.path, ignore_errors=True)
            else:
                _remove(self.path)  # what was in its place
        self._lock.release()
        note(destination="")
        for folder in self._made:
            with contextlib.suppress(OSError):  # not empty: the bundle is there
                folder.rmdir()

    def commit(
        self,
        manifest: Mapping[str, Any],
        files: Mapping[str, str],
        describe: Callable[[Bundle], Mapping[str, str]] | None = None,
    ) -> Bundle:
        """Hash ``files`` (name → what it is), write the manifest last, and put the folder in its place.

        ``describe`` is given the bundle as it is in the hidden folder, and returns the files that it wrote about it.
        """
        if os.getpid() != self._process:
            raise CheckFailed("the module's code forked this process; expected one alone to write a bundle; remove it")
        _remove_others(self.path, files)
        entries = self._entries(files)
        whole = cast(Manifest, {"format": FORMAT, **manifest, "files": entries})
        if describe is not None:
            entries |= self._entries(describe(Bundle(self.path, whole)))
        listing = self.path / MANIFEST
        listing.write_text(manifest_text(whole), encoding="utf-8")
        written = read_manifest(listing)
        for file in (*(self.path / name for name in entries), listing):
            file.chmod(listing.stat().st_mode)  # as the user's umask has it, whoever made the file
        flush(listing)
        flush(self.path)
        with locked(self.destination.parent):
            check_destination(self.destination)  # something may have been put there meanwhile
            old = self._put_in_place()
            flush(self.destination.parent)
        for name, entry in entries.items():
            log.info("wrote %s: %s, %s bytes", self.destination / name, entry["role"], f"{entry['bytes']:,}")
        note(written=str(self.destination.absolute()))
        _remove(old)
        return Bundle(self.destination, written)

    def _entries(self, files: Mapping[str, str]) -> dict[str, FileEntry]:
        """Return the manifest's entry of each file, which is on the disk by then."""
        entries = {}
        for name, role in files.items():
            file = self.path / name
            flush(file)
            entries[name] = file_entry(file, role)
        return entries

    def _put_in_place(self) -> Path:
        """Move the folder to the bundle's place; returns the new place of the one that was there."""
        if not self.destination.exists():
            self.path.rename(self.destination)
            return self.path
        if exchange(self.path, self.destination):
            try:
                _check_replaced(self.path, self.destination)
            except BaseException:
                exchange(self.path, self.destination)
                raise
            return self.path
        replaced = hidden(self.destination, "replaced")
        self.destination.rename(replaced)  # killed after this, the next command puts it back
        try:
            _check_replaced(replaced, self.destination)
            self.path.rename(self.destination)
        except BaseException:
            replaced.rename(self.destination)
            raise
        return replaced


def recover(destination: Path) -> None:
    """Put back or remove what killed commands left of a bundle at ``destination``; running ones are let be."""
    if not destination.parent.is_dir():
        return
    with locked(destination.parent):
        for left in left_by_killed(destination):
            if ".replaced-" in left.name and not os.path.lexists(destination):
                left.rename(destination)
                log.info("put back %s, which a killed command had moved to %s", destination, left.name)
            else:
                log.info("remove %s, which a killed command left", left)
                _remove(left)


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before anything counts on them, if the system can be asked."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove a folder of ours. A whole bundle to which somebody added something stays."""
    if (folder / MANIFEST).exists():
        try:
            check_owned(folder)
        except (InputError, FileNotFoundError):  # another process may be removing it
            return
    shutil.rmtree(folder, ignore_errors=True)


def _check_replaced(old: Path, destination: Path) -> None:
    """Raise InputError if something that is not ours was put into the old bundle at the last moment."""
    if any(old.iterdir()):
        check_owned(old, shown=destination)


def _remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove what was of use while the bundle was made, but for the files and what may lie beside them, as a log."""
    for base, folders, files in os.walk(folder, topdown=False):
        for name in files:
            file = Path(base) / name
            path = file.relative_to(folder).as_posix()
            if path not in names and not BESIDE.fullmatch(path):
                file.unlink()
        for name in folders:
            with contextlib.suppress(OSError):  # not empty: files of the bundle are in it
                (Path(base) / name).rmdir()
