"""The rule for the place of a bundle: it is free, or everything in it is ours; anything else is refused, untouched."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..errors import Attn2trtError, InputError, StorageError
from .bundle import open_bundle
from .input_path import require_utf8
from .manifest import MANIFEST

# What commands write into a bundle beside the files of its manifest, by path in the bundle. A killed command leaves
# folders of scratch, with everything in them, and files that the manifest was not yet to list or no longer lists.
SCRATCH = re.compile(r"(plans/|\.tuning)\.partial-[\w.+-]+")
LEFT = re.compile(
    r"\.bundle\.json\.partial-\d+|report\.html(\.partial-\d+)?|plans/\.timing\.cache\.partial|model\.ort-cpu(\.\d+)?\.onnx(\.data)?|"
    r"model\.[a-z\d-]+\.tensorrt(-rtx)?(\.\d+)?\.onnx(\.data)?|"
    r"plans/sm\d+(\+sm\d+)*-[a-z]+[\d.]+-[a-z]+\d+(-[a-z]+\d+)?(-tuned)?(\.\d+)?\.(plan|layers\.json|kernels)(\.partial-\d+)?"
)
BESIDE = re.compile(r"plans/[\w.+-]+\.(log|cache)")  # of no account to the bundle
UNLISTED = re.compile(rf"{LEFT.pattern}|{BESIDE.pattern}|bundle\.json|plans")

ROOM = 256  # bytes of a path: of a file in a bundle, and of the ending that its folder has while it is made

KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISREG, "a file"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)
ELSEWHERE = "give a folder that does not exist yet with -o"


def check_destination(destination: Path) -> None:
    """Raise InputError unless ``destination`` is absent, an empty folder, or a bundle that holds nothing else.

    Nothing is touched. Raises StorageError if the system will not have a folder there; a bundle that is there already
    may lie in a folder that is read-only, since it may be reused.
    """
    place = Path.cwd() / destination
    require_utf8(str(place), "-o ", ELSEWHERE)
    if is_filled(destination, "a bundle"):
        check_owned(place, shown=destination)


def is_filled(destination: Path, what: str) -> bool:
    """Return True if a folder with something in it is there, False if ``what``, a folder, can take the place.

    Nothing is touched. Raises InputError for what is no folder, and for a folder that cannot be replaced; StorageError
    if the system will not have a folder there.
    """
    place = Path.cwd() / destination
    try:
        mode = place.lstat().st_mode
    except NotADirectoryError:
        raise InputError(f"{destination} lies below a file; {ELSEWHERE}") from None
    except FileNotFoundError:
        check_parents(destination)
        return False
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(f"{destination} lies below a link that leads back to itself; {ELSEWHERE}") from None
    if not stat.S_ISDIR(mode):
        kind = next((name for matches, name in KINDS if matches(mode)), "no folder")
        raise InputError(f"{destination} is {kind}; {what} is a folder of its own; {ELSEWHERE}")
    check_outside_bundles(destination, place.parent)
    _check_replaceable(destination, place, what)
    if any(place.iterdir()):
        return True
    check_writable(place.parent, destination)
    return False


def check_owned(folder: Path, *, shown: Path | None = None) -> None:
    """Raise InputError unless ``folder`` is a bundle and each entry is one that it lists or that a command writes.

    Its files may have changed since. ``shown`` names the folder in the error.
    """
    name = folder if shown is None else shown
    manifest = folder / MANIFEST
    if not manifest.is_file() or manifest.is_symlink():
        raise InputError(f"{name} holds other files and is not a bundle; give another folder with -o")
    try:
        listed = {PurePosixPath(file) for file in open_bundle(folder).manifest["files"]}
    except InputError as error:
        raise InputError(
            f"{name} holds a {MANIFEST} that is not of this version of attn2trt; expected a bundle of it, an empty "
            "folder or none; give another folder with -o, or remove this one"
        ) from error
    folders = {parent for file in listed for parent in file.parents}
    for entry, is_folder in _entries(folder):
        path = PurePosixPath(entry)
        if path not in (folders if is_folder else listed) and not UNLISTED.fullmatch(entry):
            raise InputError(
                f"{name} holds {entry!r}, which is no part of the bundle there; expected nothing else in a folder that "
                "is replaced; move it away, or give another folder with -o"
            )


def _entries(folder: Path, inside: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the path of everything in ``folder`` and if it is a folder; what is neither a file nor one is refused."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = inside + entry.name
        if entry.is_dir(follow_symlinks=False):
            if SCRATCH.fullmatch(path):
                continue
            yield path, True
            yield from _entries(Path(entry.path), f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            yield path, False
        else:
            raise InputError(
                f"{entry.path} is neither a file nor a folder; expected nothing else in a folder that is replaced; "
                "move it away, or give another folder with -o"
            )


def check_parents(destination: Path) -> None:
    """Raise InputError unless the nearest thing that exists above is a folder, and in no bundle.

    The same for a name that other tools give their stdout, and for a path that leaves no room for one of a file in it.
    Raises StorageError if it cannot be written.
    """
    if destination.name == "-":
        raise InputError(f"received -o {destination}, as other tools name their stdout; expected a folder; {ELSEWHERE}")
    above = next(parent for parent in (Path.cwd() / destination).parents if os.path.lexists(parent))
    if not above.is_dir():
        kind = "a link that leads nowhere" if above.is_symlink() else "a file"
        raise InputError(f"{destination} lies below {above.name}, {kind}; {ELSEWHERE}")
    longest, length = _longest_path(above) - ROOM, len(os.fsencode(Path.cwd() / destination))
    if length > longest:
        raise InputError(
            f"received -o {str(destination)[:60]}…, a path of {length} bytes with the current folder; expected at most "
            f"{longest}, so that the files in it have paths; give a shorter one"
        )
    check_outside_bundles(destination, above)
    check_writable(above, destination)


def _longest_path(folder: Path) -> int:
    """Return the number of bytes that the system takes as a path, one of them the zero at its end."""
    return os.pathconf(folder, "PC_PATH_MAX") if hasattr(os, "pathconf") else sys.maxsize


def check_outside_bundles(destination: Path, folder: Path, option: str = "-o") -> None:
    """Raise InputError if ``folder``, in which ``destination`` is to be written, is a bundle or lies in one."""
    if (bundle := bundle_around(folder)) is not None:
        raise InputError(
            f"received {option} {destination}, which would be written into the bundle {bundle.name}; expected a folder "
            f"that lies in no bundle; give a folder that does not exist yet with {option}, beside {bundle.name}"
        )


def bundle_around(folder: Path) -> Path | None:
    """Return the bundle that a folder is or lies in, None if it is in none.

    A bundle holds what its manifest lists: with anything else in it, nothing could replace it.
    """
    real = Path(os.path.realpath(folder))  # Path.resolve raises for a link that leads back to itself
    return next((above for above in (real, *real.parents) if _is_bundle(above)), None)


def _is_bundle(folder: Path) -> bool:
    with contextlib.suppress(Attn2trtError, OSError):
        open_bundle(folder)
        return True
    return False


def _check_replaceable(destination: Path, place: Path, what: str) -> None:
    """Raise InputError for a folder that cannot be replaced: of the process itself, or a mount point."""
    here, real = Path.cwd().resolve(), place.resolve()
    if real in (here, *here.parents):
        raise InputError(
            f"received -o {destination}, the current folder or one above it, which {what} would replace; expected a "
            "folder of its own; give one, as -o new"
        )
    if place.is_mount():
        raise InputError(f"{destination} is a mount point, which cannot be replaced; give a folder in it with -o")


def why_not_writable(folder: Path) -> str:
    """Return why no file can be made in ``folder``, in the system's words; "" if one can.

    One is made that has no name, or none for long: the rights alone say nothing of /proc, nor to root.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def check_writable(folder: Path, destination: Path) -> None:
    """Raise StorageError unless this process may make something in ``folder``, to have it at ``destination``."""
    if why := why_not_writable(folder):
        raise StorageError(
            f"received -o {destination}, and nothing can be written in {folder} ({why}); expected a folder that can be "
            "written to; choose another place"
        )
