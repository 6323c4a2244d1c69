"""The folder of a sweep and those of its jobs: their names, what may lie in them, and how a file is written there."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

from ...core.bundle_writer import flush
from ...core.destination import KINDS, check_outside_bundles, check_owned, check_parents, check_writable
from ...core.manifest import MANIFEST
from ...core.typed_json import parsed
from ...errors import InputError
from .matrix import BUNDLE, Job

COMMAND = "attn2trt sweep"
MARKER = "sweep.json"
RESULT = "result.json"
OUTPUT, ERRORS = "out", "err"
LARGEST_JSON = 256 << 20
# Entries that a job's folder may hold beside its document and its bundle.
OWN = frozenset({RESULT, OUTPUT, ERRORS, "modules", "output.json", "errors.txt"})
WORK = ".work-"  # the folder of one attempt, beside the job's


def check_place(folder: Path, *, resume: bool) -> None:
    """Raise InputError unless the folder is free, or a sweep's that is to be gone on with.

    Raises StorageError if none can be made there.
    """
    elsewhere = "give another folder with -o"
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        check_parents(folder)
        return
    except NotADirectoryError:
        raise InputError(f"{folder} lies below a file; {elsewhere}") from None
    if not stat.S_ISDIR(mode):
        kind = next((name for matches, name in KINDS if matches(mode)), "no folder")
        raise InputError(f"{folder} is {kind}; expected a folder for the results of a sweep; {elsewhere}")
    check_outside_bundles(folder, folder)
    check_writable(folder, folder)
    if not any(folder.iterdir()):
        return
    document = read_json(folder / MARKER)
    if not isinstance(document, dict) or document.get("command") != COMMAND:
        raise InputError(f"{folder} holds other files and no results of a sweep; {elsewhere}")
    if not resume:
        raise InputError(
            f"{folder} holds the results of an earlier sweep; expected --resume, which runs what is missing or "
            f"different now, or --force, which runs every job; add one of them, or {elsewhere}"
        )


def check_job_folder(folder: Path, job: Job) -> None:
    """Raise InputError if a job's folder holds something that no job put there."""
    for place in (folder.parent, folder):
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise InputError(f"{place} is no folder; expected one for the results of {job.name}; move it away")
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        is_bundle = entry.name == BUNDLE or entry.name.startswith(f".{BUNDLE}.")
        is_file = entry.name in {*OWN, job.verb.document} or ".partial-" in entry.name
        if entry.is_symlink() or not (entry.is_dir() if is_bundle else is_file and entry.is_file()):
            raise InputError(f"{entry} is nothing that a sweep wrote; expected nothing else there; move it away")
    if (folder / BUNDLE / MANIFEST).exists():
        check_owned(folder / BUNDLE)


def remove_bundle(folder: Path) -> None:
    """Remove a bundle, or the half of one, that a job of this sweep made."""
    if folder.is_dir():
        if (folder / MANIFEST).exists():
            check_owned(folder)
        shutil.rmtree(folder)


def read_json(file: Path) -> Any:
    """Return what a file holds; None if it is none, a link, too large or no JSON."""
    try:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > LARGEST_JSON:
            return None
        return parsed(file.read_text(encoding="utf-8"))
    except ValueError:
        return None


def write_text(file: Path, text: str) -> None:
    """Write a file in one step."""
    partial = file.with_name(f".{file.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8", errors="replace")
        flush(partial)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
