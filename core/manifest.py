"""The manifest of a bundle: its file, which may hold anything until it was checked, and its own hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from ..errors import InputError, one_line
from .dimension import size_of
from .manifest_entries import Manifest
from .typed_json import find_wrong, is_whole, parsed, short

FORMAT = 1
MANIFEST = "bundle.json"
MODEL = "model.onnx"
REFERENCE = "reference.safetensors"
REPORT = "report.html"
HASH = "sha256"  # of the manifest itself


def read_manifest(file: Path) -> Manifest:
    """Read a manifest. Raises InputError if the file holds none, or one whose entries are not what they must be."""
    try:
        manifest = parsed(file.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except ValueError as error:
        reason = one_line(error)
        raise InputError(f"{file} is not readable JSON ({reason}); deploy the target again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = short(manifest.get("format")) if isinstance(manifest, dict) else type(manifest).__name__
        is_newer = isinstance(manifest, dict) and type(manifest.get("format")) is int and manifest["format"] > FORMAT
        advice = "upgrade attn2trt" if is_newer else "deploy the target again"
        raise InputError(f"{file} has format {found}; this version reads format {FORMAT}; {advice}")
    if (wrong := find_wrong(manifest, Manifest)) is not None:
        where, expected = wrong
        raise InputError(f"{file} has no usable {where}; expected {expected}; deploy the target again")
    _check_names(file, manifest)
    return cast(Manifest, manifest)


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """Return the text of the file, with the hash of what it says."""
    plain = json.loads(json.dumps(manifest))  # keys and tuples as they come back
    return json.dumps({**plain, HASH: manifest_hash(plain)}, indent=1, ensure_ascii=False) + "\n"


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the manifest's JSON without the hash: sorted keys, no spaces, ASCII."""
    content = {key: value for key, value in manifest.items() if key != HASH}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_inside(name: str) -> bool:
    """Return True if ``name`` is a plain relative path that stays in the bundle's folder."""
    path = PurePosixPath(name)
    plain = bool(name) and not any(character in name for character in "\\:\0")
    return plain and not path.is_absolute() and ".." not in path.parts and path.as_posix() == name and name != "."


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _check_names(file: Path, manifest: Mapping[str, Any]) -> None:
    """Raise InputError for a name that leaves the bundle, and for a graph that is not listed."""
    for name in manifest["files"]:
        if not is_inside(name) or name == MANIFEST:
            raise InputError(f"{file} lists {name!r}, which leaves the bundle or is none of it; do not use this bundle")
    lowered = {name: entry["file"] for name, entry in manifest.get("precisions", {}).items()}
    tuned = manifest.get("tuned")
    tuned_files = [] if tuned is None else [tuned["file"]]
    graphs = [*lowered.values(), *tuned_files, *(entry["file"] for entry in manifest.get("tuned_graphs", ()))]
    for name in (MODEL, REFERENCE, *graphs):
        if name not in manifest["files"]:
            raise InputError(f"{file} does not list {name}; deploy the target again")
    _check_cases(file, manifest)


def _has_sizes(dim: str, axes: Mapping[str, Sequence[int]]) -> bool:
    """Return True if a dimension is an axis, or is tied to axes and has a size at both ends of their ranges."""
    try:
        ends = [size_of(dim, {name: sizes[end] for name, sizes in axes.items()}) for end in (0, 1, 2)]
    except InputError:
        return False
    return all(is_whole(size, 1) for size in ends)


def _check_cases(file: Path, manifest: Mapping[str, Any]) -> None:
    """Raise InputError for an axis without a range, and for a case that is none of this graph."""
    named = {size for spec in manifest["inputs"] for size in spec["shape"] if isinstance(size, str)}
    if unknown := {size for size in named if not _has_sizes(size, manifest["axes"])}:
        raise InputError(
            f"{file} has no usable 'axes'; expected the range of {min(unknown)!r}; deploy the target again"
        )
    names = {kind: {spec["name"] for spec in manifest[kind]} for kind in ("inputs", "outputs")}
    for place, case in enumerate(manifest["cases"]):
        outputs = {output["name"] for output in case["outputs"]}
        rows = {*case["row_inputs"]} <= names["inputs"] and {*case["row_outputs"]} <= outputs
        if not rows or {*case["inputs"]} != names["inputs"] or outputs != names["outputs"]:
            raise InputError(
                f"{file} has no usable 'cases', [{place}]; expected the inputs and outputs of the graph; deploy the "
                "target again"
            )
        if missing := {*manifest["axes"]} - {*case["sizes"]}:
            raise InputError(
                f"{file} has no usable 'cases', [{place}], 'sizes'; expected one for {min(missing)!r}; deploy the "
                "target again"
            )
