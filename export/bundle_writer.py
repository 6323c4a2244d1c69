"""Write a bundle into a hidden folder, then put the folder in its place in one rename."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckFailed
from ..processes import note
from .bundle import FORMAT, MANIFEST, Bundle, is_running, sha256
from .destination import UNLISTED, check_destination, check_owned


class BundleWriter:
    """Builds a bundle in a hidden folder beside its place and moves it there in one rename.

    Use it in a ``with`` statement; without a call of ``commit`` nothing is left behind.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.path = destination.with_name(f".{destination.name}.partial-{os.getpid()}")
        self._made: list[Path] = []
        self._process = os.getpid()

    def __enter__(self) -> BundleWriter:
        check_destination(self.destination)
        self._made = [folder for folder in self.destination.parents if not folder.exists()]
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        for stale in _stale(self.destination):
            shutil.rmtree(stale, ignore_errors=True)
        note(partial=str(self.path.absolute()))
        self.path.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() != self._process:
            return  # a copy that the module's code forked off; the bundle is the other one's
        shutil.rmtree(self.path, ignore_errors=True)
        note(partial="")
        for folder in self._made:
            with contextlib.suppress(OSError):  # not empty: the bundle is there
                folder.rmdir()

    def commit(self, manifest: Mapping[str, Any], files: Mapping[str, str]) -> Bundle:
        """Hash ``files`` (name → what it is), write the manifest last, and put the folder in its place."""
        if os.getpid() != self._process:
            raise CheckFailed(
                "the module's code forked this process; expected one alone to write the bundle; remove that"
            )
        entries = {}
        for name, role in files.items():
            file = self.path / name
            _flush(file)
            entries[name] = {"role": role, "sha256": sha256(file), "bytes": file.stat().st_size}
        whole = {"format": FORMAT, **manifest, "files": entries}
        listing = self.path / MANIFEST
        listing.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _flush(listing)
        self._remove_scratch(entries)
        replaced = self.destination.with_name(f".{self.destination.name}.replaced-{os.getpid()}")
        check_destination(self.destination)  # something may have been put there meanwhile
        if self.destination.exists():
            self.destination.rename(replaced)
            self._require_ours(replaced)
        self.path.rename(self.destination)
        note(partial="", written=str(self.destination.absolute()))
        shutil.rmtree(replaced, ignore_errors=True)
        return Bundle(self.destination, whole)

    def _remove_scratch(self, entries: Mapping[str, Any]) -> None:
        """Remove what the manifest does not list, but for what a command may leave beside it, as a builder's log."""
        for other in sorted(self.path.rglob("*"), reverse=True):
            name = other.relative_to(self.path).as_posix()
            if other.is_dir():
                with contextlib.suppress(OSError):  # not empty: a listed file is in it
                    other.rmdir()
            elif name not in entries and not UNLISTED.fullmatch(name):
                other.unlink()

    def _require_ours(self, replaced: Path) -> None:
        """Put back what has been moved away if it holds anything that is not ours."""
        try:
            if any(replaced.iterdir()):
                check_owned(replaced, shown=self.destination)
        except BaseException:
            replaced.rename(self.destination)
            raise


def _stale(destination: Path) -> Iterator[Path]:
    """What earlier runs for this destination left when they were killed."""
    pattern = re.compile(re.escape(f".{destination.name}.") + r"(?:partial|replaced)-(\d+)")
    for candidate in destination.parent.iterdir():
        if (match := pattern.fullmatch(candidate.name)) and not is_running(int(match[1])):
            yield candidate


def _flush(path: Path) -> None:
    """Have the file on the disk before the manifest names it, where the system can be asked for it."""
    with contextlib.suppress(PermissionError), path.open("rb+") as stream:
        os.fsync(stream.fileno())
