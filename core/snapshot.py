"""Copies of a bundle's files: a command that reads them for minutes reads the same ones to the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ..errors import CheckFailed, InputError, StorageError
from .bundle import Bundle, open_bundle
from .file_hashes import sha256


def copy_files(bundle: Bundle, names: Iterable[str], folder: Path) -> Bundle:
    """Copy files of a bundle, and check each copy against its hash.

    Args:
        bundle: The bundle as it was opened.
        names: Files that its manifest lists.
        folder: The place of the copies, which is made.

    Returns:
        The same bundle at ``folder``, with these files alone.

    Raises:
        StorageError: Another command has replaced or changed the bundle since it was opened.
        CheckFailed: A file is missing, or is not the one that the manifest lists.
    """
    folder.mkdir()
    for name in names:
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        listed = bundle.manifest["files"][name]["sha256"]
        try:
            shutil.copyfile(bundle.path / name, copy)
            found = sha256(copy)
        except FileNotFoundError:
            found = ""
        if found != listed:
            raise _why_other(bundle, name, found)
    return Bundle(folder, bundle.manifest)


def _why_other(bundle: Bundle, name: str, found: str) -> CheckFailed | StorageError:
    try:
        is_replaced = dict(open_bundle(bundle.path).manifest) != dict(bundle.manifest)
    except InputError:
        is_replaced = True
    if is_replaced:
        return StorageError(f"{bundle.path} was replaced by another command meanwhile; run this one again")
    what = f"changed: its sha256 is {found[:12]}…, not the manifest's" if found else "missing"
    return CheckFailed(f"{bundle.path / name}: {what}; deploy the target again or restore the file")
