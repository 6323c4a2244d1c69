"""Compare the files of a bundle with the hashes in its manifest.

The hashes prove that files are the ones the manifest lists, not who wrote the manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckFailed, one_line
from .bundle import Bundle, Folder, open_bundle
from .manifest import HASH, MANIFEST, is_inside, manifest_hash
from .manifest_entries import FileEntry

if TYPE_CHECKING:
    import onnx

SMALL_BYTES = 1024


@dataclass(frozen=True)
class Finding:
    """One checked file of a bundle."""

    file: str
    ok: bool
    detail: str


def sha256(*paths: Path) -> str:
    """The SHA-256 of a file, or of several one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def file_entry(file: Path, role: str) -> FileEntry:
    """Return the manifest's entry of a file; ``role`` says what it is."""
    return {"role": role, "sha256": sha256(file), "bytes": file.stat().st_size}


def verify(path: Folder) -> list[Finding]:
    """Compare the manifest and every listed file with their hashes, and what graphs and plans name with the list."""
    bundle = open_bundle(path)
    root = bundle.path.resolve()
    findings = [_verify_manifest(bundle.manifest)]
    findings += _verify_plans(bundle.manifest)
    findings += [_verify_file(root, name, entry) for name, entry in bundle.manifest["files"].items()]
    if all(finding.ok for finding in findings):
        findings += _verify_graphs(bundle)
    return findings


def is_as_listed(bundle: Bundle, name: str) -> bool:
    """Tell whether this file of the bundle is the one that its manifest lists."""
    entry = bundle.manifest["files"].get(name)
    return entry is not None and _verify_file(bundle.path.resolve(), name, entry).ok


def require_unchanged(bundle: Bundle) -> None:
    """Raise CheckFailed for the first file that is not the one the manifest lists."""
    for finding in verify(bundle.path):
        if not finding.ok:
            raise CheckFailed(
                f"{bundle.path / finding.file}: {finding.detail}; deploy the target again or restore the file"
            )


def _verify_file(root: Path, name: str, entry: Mapping[str, Any]) -> Finding:
    file = root / name
    if not file.is_file():
        return Finding(name, False, "missing")
    if not file.resolve().is_relative_to(root):
        return Finding(name, False, "a link that leaves the bundle")
    found = sha256(file)
    if found != entry["sha256"]:
        others = f"{found[:12]}…, the manifest has {entry['sha256'][:12]}…"
        return Finding(name, False, f"changed: its sha256 is {others}")
    return Finding(name, True, f"sha256 {found[:12]}…, {file.stat().st_size} bytes")


def _verify_manifest(manifest: Mapping[str, Any]) -> Finding:
    """Compare what the manifest says with its own hash, if it has one."""
    if HASH not in manifest:
        return Finding(MANIFEST, True, "manifest not covered: written by a version that did not hash it")
    found = manifest_hash(manifest)
    if found != manifest[HASH]:
        return Finding(
            MANIFEST, False, f"changed: its content has sha256 {found[:12]}… instead of {manifest[HASH][:12]}…"
        )
    return Finding(MANIFEST, True, f"content sha256 {found[:12]}…")


def _verify_plans(manifest: Mapping[str, Any]) -> list[Finding]:
    """Find plans that no hash covers, since they are no files of this bundle."""
    unlisted = [entry["file"] for entry in manifest.get("plans", ()) if entry["file"] not in manifest["files"]]
    return [Finding(MANIFEST, False, f"names the plan {name!r}, which it does not list") for name in unlisted]


def _verify_graphs(bundle: Bundle) -> list[Finding]:
    """Find graphs that are no ONNX, and those that name weights that are no files of this bundle."""
    found = [(name, wrong) for name in bundle.graph_files for wrong in _wrong_in_graph(bundle, name)]
    return [Finding(name, False, wrong) for name, wrong in found]


def _wrong_in_graph(bundle: Bundle, name: str) -> list[str]:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    path = bundle.path / name
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        return [f"no ONNX graph: {one_line(error)}"]
    locations = {entry.value for tensor in tensors(model) for entry in tensor.external_data if entry.key == "location"}
    if unlisted := [one for one in sorted(locations) if not is_inside(one) or one not in bundle.manifest["files"]]:
        return [f"refers to {location!r}, which the manifest does not list" for location in unlisted]
    try:
        onnx.checker.check_model(str(path))
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) > SMALL_BYTES:  # inference copies all, and reads none but small numbers
                tensor.ClearField("raw_data")
        onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # the checker raises several unrelated types
        return [f"no graph that ONNX's checker takes: {one_line(error)}"]
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    unknown = {value.type.tensor_type.elem_type for value in values} - {*onnx.TensorProto.DataType.values()}
    return [f"no graph that ONNX's checker takes: it has no element type {kind}" for kind in sorted(unknown)]


def tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a message of ONNX, at any depth: attributes, sub-graphs, functions, sparse values."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in (value,) if hasattr(value, "ListFields") else value:  # one message, or several
                yield from tensors(part)
