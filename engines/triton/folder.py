"""The folder of a model in Triton's repository: its files, and the listing by which a later command knows it again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...core.bundle import Bundle
from ...core.bundle_writer import flush
from ...core.file_hashes import sha256
from ...core.typed_json import parsed
from ...errors import CheckFailed, InputError
from .config import CONFIG, label_file, to_text
from .source import PROGRAM, Source, hashes
from .warmup import FOLDER, Request

LISTING = "attn2trt.json"
FORMAT = 1
MODEL_PROGRAM = Path(__file__).with_name("python_model.py")
CACHE = "__pycache__"  # Triton's Python backend imports model.py, and Python keeps the byte code beside it


def write_model(
    folder: Path,
    bundle: Bundle,
    sources: Sequence[Source],
    config: Any,
    warmup: Sequence[Request],
    labels: dict[str, str],
) -> None:
    """Write a model's folder: the configuration, a folder for each version, and what the configuration names.

    Raises CheckFailed if a file of the bundle changed while it was copied.
    """
    folder.mkdir()
    (folder / CONFIG).write_text(to_text(config), encoding="utf-8")
    for output, text in labels.items():
        (folder / label_file(bundle, output)).write_text(text, encoding="utf-8")
    for number, source in enumerate(sources, 1):
        _write_version(folder / str(number), bundle, source)
    if warmup:
        (folder / FOLDER).mkdir()
    types = [entry.data_type for entry in config.input]
    for request in warmup:
        for position, array in enumerate(request.arrays.values()):
            (folder / FOLDER / request.file(position)).write_bytes(_raw(array, types[position], config))
    _write_listing(folder, bundle)


def _raw(array: Any, data_type: int, config: Any) -> bytes:
    """Return the bytes of an array, in the type that the configuration has for it."""
    name = type(config.input[0]).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[data_type].name
    return bytes(array.astype("int32" if name == "TYPE_INT32" else array.dtype).tobytes(order="C"))


def _write_version(folder: Path, bundle: Bundle, source: Source) -> None:
    folder.mkdir()
    for name, expected in hashes(bundle, source).items():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / source.files[name], copy)
        if (found := sha256(copy)) != expected:
            raise CheckFailed(
                f"{bundle.path / source.files[name]} changed while it was copied: its sha256 is {found[:12]}…, the "
                f"manifest has {expected[:12]}…; run attn2trt verify"
            )
        flush(copy)
    if source.backend == "python":
        shutil.copyfile(MODEL_PROGRAM, folder / PROGRAM)


def _write_listing(folder: Path, bundle: Bundle) -> None:
    files = {name: sha256(folder / name) for name in sorted(_files(folder))}
    document = {"format": FORMAT, "bundle": bundle.name, "files": files}
    (folder / LISTING).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    flush(folder / LISTING)


def require_own(folder: Path) -> None:
    """Raise InputError unless a model's folder is as this tool wrote it, so that nothing is lost with it."""
    advice = "move it away, or choose another name with --name"
    listing = folder / LISTING
    try:
        if folder.is_symlink() or listing.is_symlink():
            raise ValueError("a link")
        document = parsed(listing.read_text(encoding="utf-8"))
        listed = {str(name): str(value) for name, value in document["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{folder} was not written by attn2trt triton; expected to replace its own; {advice}"
        ) from None
    for name in sorted(_files(folder)):
        if name != LISTING and name not in listed:
            raise InputError(f"{folder} holds {name!r}, which attn2trt triton did not write; {advice}")
        if name in listed and sha256(folder / name) != listed[name]:
            raise InputError(f"{folder} holds {name!r}, which was changed since attn2trt triton wrote it; {advice}")


def _files(folder: Path) -> Iterator[str]:
    """Yield the path of everything in the folder that is no folder, but for Python's byte code."""
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != CACHE]
        links = [name for name in folders if (Path(base) / name).is_symlink()]
        for name in (*files, *links):
            yield (Path(base) / name).relative_to(folder).as_posix()
