"""A path that the user gave to be read: there, of the right kind, and readable; else one line says what to do."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Literal

from ..errors import InputError, StorageError

Kind = Literal["file", "folder", "either"]


def require_utf8(name: str, received: str, fix: str = "rename it") -> None:
    """Raise InputError for a name that is not UTF-8, which neither ONNX's libraries nor a manifest can hold.

    The same for a byte of zero, which no path holds. ``received`` is the option that it was given to, with a blank, or
    "" for an argument.
    """
    if "\0" in name:
        raise InputError(f"received {received}{name!a}, with a byte of zero, which no path holds; {fix}")
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = f"received {received}{name!a}"
        raise InputError(f"{shown}, a name that is not UTF-8, which ONNX cannot open; {fix}") from None


def is_there(path: Path, kind: Kind) -> bool:
    """Return True if something of that kind is there; a text too long for a path, as of options, leads nowhere."""
    try:
        return {"file": Path.is_file, "folder": Path.is_dir, "either": Path.exists}[kind](path)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def require_readable(path: Path, expected: str, *, option: str = "", kind: Kind = "file") -> Path:
    """Return a path that can be read.

    Args:
        path: The path.
        expected: What it should lead to, in words: "an ONNX file".
        option: The option that it was given to; "" for an argument.
        kind: A file, a folder, or either of them.

    Raises:
        InputError: Nothing is there, or something else: a file for a folder, a device.
        StorageError: It is there, and may not be read.
    """
    received = f"received {option} {path}" if option else f"received {path}"
    try:
        if not is_there(path, "either"):
            raise FileNotFoundError
        mode = path.stat().st_mode
        is_folder = stat.S_ISDIR(mode)
        if is_folder and kind == "file":
            raise InputError(f"{received}, a folder; expected {expected}; name the file in it")
        if stat.S_ISREG(mode) and kind == "folder":
            raise InputError(f"{received}, a file; expected {expected}; name the folder that holds it")
        if not is_folder and not stat.S_ISREG(mode):
            raise InputError(f"{received}, a device, FIFO or socket; expected {expected}; give one")
        if is_folder:
            os.scandir(path).close()
        else:
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a byte of zero in it
        raise InputError(f"{received}, which is not there; expected {expected}; correct the path") from None
    except OSError as error:
        raise StorageError(f"reading {path} failed: {error.strerror}; fix the permission") from error
    return path
