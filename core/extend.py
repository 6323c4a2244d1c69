"""Change a bundle that is there: new files under new names, then the manifest in one rename, then old files go.

Killed at any moment, the bundle is the one before or the one after: files that the manifest does not list are no part
of it, and the next command that changes the bundle removes them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..errors import StorageError
from .bundle import Bundle, Folder, open_bundle
from .bundle_writer import flush
from .destination import LEFT, SCRATCH
from .file_hashes import file_entry
from .lock import is_abandoned, try_lock
from .manifest import MANIFEST, manifest_text
from .manifest_entries import Manifest

log = logging.getLogger(__name__)
# plans/sm90-trt10.9.0-fp16.2.plan: the group of its files, the number of its turn if it is not the first, its kind
TURN = re.compile(r"(?P<group>.+?)(?:\.(?P<turn>\d+))?(?P<kind>\.(?:plan|layers\.json|kernels|cache|onnx|onnx\.data))")


@contextlib.contextmanager
def changing(path: Folder) -> Iterator[Bundle]:
    """Open a bundle and keep other commands from changing it; what killed ones left in it is removed.

    Raises StorageError if another command changes it now, or has replaced it in the end.
    """
    bundle = open_bundle(path)
    folder = bundle.path
    lock = try_lock(folder.resolve())
    if lock is None:
        raise StorageError(
            f"{folder} is being changed by another command; expected one at a time; wait for it, then run this again"
        )
    inode = folder.stat().st_ino
    try:
        bundle = open_bundle(folder)
        _sweep(bundle, all_are_left=lock.descriptor is not None)
        yield bundle
    except FileNotFoundError as error:
        if folder.exists() and folder.stat().st_ino == inode:
            raise
        raise StorageError(f"{folder} was replaced by another command meanwhile; run this one again") from error
    finally:
        lock.release()


def extend(
    bundle: Bundle, files: Mapping[str, str], entries: Mapping[str, Any], *, without: Collection[str] = ()
) -> Bundle:
    """List ``files`` (name → what it is), which lie in the folder, and set ``entries`` of the manifest.

    Files of an earlier turn of the same group go, and those ``without`` which the bundle shall be. Returns the bundle
    as it then is. Raises StorageError if its manifest is not the one that ``bundle`` was read from.
    """
    gone = {name for name in bundle.manifest["files"] if name in without or _is_earlier(name, files)}
    listed = {name: entry for name, entry in bundle.manifest["files"].items() if name not in gone}
    for name, role in files.items():
        file = bundle.path / name
        flush(file)
        flush(file.parent)
        log.info("wrote %s: %s, %s bytes", file, role, f"{file.stat().st_size:,}")
        listed[name] = file_entry(file, role)
    manifest = {**bundle.manifest, **entries, "files": listed}
    written = _replace_manifest(bundle, manifest)
    for name in gone:
        with contextlib.suppress(OSError):  # the next command removes it
            (bundle.path / name).unlink()
    return Bundle(bundle.path, written)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return ``name``, or with the first number of a turn that gives one not ``taken``: ``model.ort-cpu.2.onnx``."""
    match = TURN.fullmatch(name)
    turn = 1
    free = name
    while free in taken and match is not None:
        turn += 1
        free = f"{match['group']}.{turn}{match['kind']}"
    return free


def first_name(name: str) -> str:
    """Return the name of the first turn of a file that ``free_name`` has named."""
    match = TURN.fullmatch(name)
    return name if match is None else f"{match['group']}{match['kind']}"


def _is_earlier(name: str, files: Collection[str]) -> bool:
    """Return True if ``name`` is of the same group as one of the ``files``, and of another turn."""
    match = TURN.fullmatch(name)
    others = [other for file in files if (other := TURN.fullmatch(file)) is not None]
    return match is not None and any(
        match["group"] == other["group"] and match["turn"] != other["turn"] for other in others
    )


def _replace_manifest(bundle: Bundle, manifest: Mapping[str, Any]) -> Manifest:
    """Replace the manifest in the folder that holds the one before, wherever that folder is by now; returns it."""
    text = manifest_text(manifest)
    partial = f".{MANIFEST}.partial-{os.getpid()}"
    folder = os.open(bundle.path, os.O_RDONLY)
    try:
        with open(os.open(MANIFEST, os.O_RDONLY, dir_fd=folder), encoding="utf-8") as stream:  # noqa: PTH123
            if json.dumps(json.load(stream)) != json.dumps(bundle.manifest):
                raise StorageError(f"{bundle.path} was changed by another command meanwhile; run this one again")
            mode = os.fstat(stream.fileno()).st_mode & 0o777
        try:
            written = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode, dir_fd=folder)
            with open(written, "w", encoding="utf-8") as stream:  # noqa: PTH123
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, MANIFEST, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(partial, dir_fd=folder)
            if isinstance(error, OSError):  # the name in the folder says nothing to who reads the error
                error.filename = os.fspath(bundle.path)
            raise
    finally:
        os.close(folder)
    found: Manifest = json.loads(text)
    return found


def _sweep(bundle: Bundle, *, all_are_left: bool) -> None:
    """Remove what commands that were killed left in the bundle.

    Without locks in the file system, a folder of scratch may be a running command's: its number decides.
    """
    for path in [*bundle.path.iterdir(), *(bundle.path / "plans").glob("*")]:
        name = path.relative_to(bundle.path).as_posix()
        if path.is_symlink() or name in bundle.manifest["files"]:
            continue
        if path.is_dir() and SCRATCH.fullmatch(name) and (all_are_left or is_abandoned(path)):
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file() and LEFT.fullmatch(name):
            path.unlink(missing_ok=True)
