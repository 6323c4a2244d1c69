"""A bundle that is there already: returned as it is if another run would make the same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.bundle import Bundle, open_bundle
from ..core.file_hashes import sha256, verify
from ..core.manifest import MANIFEST
from ..core.tensor_spec import Axis, TensorSpec
from ..errors import InputError
from ..modules.target import Target
from ..validate.images import images_in
from ..validate.verdict import Verdict
from .batch_choice import BatchChoice
from .versions import package_versions

if TYPE_CHECKING:
    from torch import nn

# The packages whose code a bundle depends on.
_PARTS = tuple(f"{room}/**/*.py" for room in ("core", "modules", "export", "engines", "validate", "workflows"))


def bundle_key(target: Target, module: nn.Module | None, *, options: Sequence[Any], read: Sequence[Path | None]) -> str:
    """Return a SHA-256 over everything that a bundle depends on: the same key means the same bundle.

    Args:
        target: The target at the batch that is tried first.
        module: The built module, if only it tells what the target is.
        options: What else was asked for, as plain data.
        read: Files and folders of photographs whose content the bundle depends on.
    """
    fingerprint = target.fingerprint
    if module is not None:
        from ..modules.fingerprint import fingerprint as of_module

        fingerprint = of_module(module)
    about = {"name": target.name, "fingerprint": fingerprint, "outputs": target.output_names}
    return key_of(about, target.inputs, target.axes, options=options, read=read)


def key_of(
    about: Mapping[str, Any],
    inputs: Sequence[TensorSpec],
    axes: Mapping[str, Axis],
    *,
    options: Sequence[Any],
    read: Sequence[Path | None],
) -> str:
    """Return a SHA-256 over what a bundle is ``about``, its inputs and axes, and over what ``bundle_key`` names."""
    parts = {
        **about,
        "inputs": [spec.to_json() for spec in inputs],
        "axes": {name: str(axis) for name, axis in axes.items()},
        "options": [*options],
        "read": [[sha256(file) for file in files_read(path)] for path in read],
    }
    return content_key(parts)


def content_key(parts: Mapping[str, Any]) -> str:
    """Return a SHA-256 over plain data, the code that works on it and the versions of the packages."""
    whole = {**parts, "sources": sources(), "versions": package_versions()}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def sources() -> tuple[str, ...]:
    """Return the hash of each file of the code that a result depends on."""
    files = sorted(file for part in _PARTS for file in Path(__file__).parents[1].glob(part))
    return tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def files_read(path: Path | None) -> list[Path]:
    """Return the files that are read of a folder of photographs or of a file of tensors."""
    if path is None:
        return []
    if not path.exists() or path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"received {path}, a device, FIFO or socket; expected a file or a folder; give one")
    return images_in(path)


def reusable(destination: Path, key: str, batch: BatchChoice, seed: int) -> Bundle | None:
    """Return the bundle at ``destination`` if another run would make the same one.

    A module of the user's is traced again, since its key does not hold all that it computes.
    """
    found = unchanged(destination, key)
    if found is None or batch.module is None:
        return found
    from ..export.trace.exporter import program_of
    from ..validate.reuse import is_same

    program = program_of(batch.target_of(found), batch.module)
    return found if is_same(found, program, batch.module, seed=seed) else None


def unchanged(destination: Path, key: str) -> Bundle | None:
    """Return the bundle at ``destination`` if it has this key and no file of it has changed since.

    A bundle in whose making a process was killed or a time limit passed is made again: another run need not meet it.
    """
    if not (destination / MANIFEST).is_file():
        return None
    try:
        bundle = open_bundle(destination)
    except InputError:
        return None
    if bundle.manifest.get("key") != key or not all(finding.ok for finding in verify(destination)):
        return None
    if was_interrupted(bundle):
        return None
    return Bundle(bundle.path, bundle.manifest, reused=True)


def was_interrupted(bundle: Bundle) -> bool:
    """Return True if a process was killed, or a time limit passed, while the bundle was made."""
    interrupted = bundle.manifest.get("interrupted") or bundle.manifest.get("simplified", {}).get("interrupted")
    return bool(interrupted) or Verdict.from_json(bundle.manifest["verdict"]).was_interrupted
