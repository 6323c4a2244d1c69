"""The only place where the attacks reach into the package; everything else goes through its command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MANIFEST = "bundle.json"
MODEL = "model.onnx"
REFERENCE = "reference.safetensors"


def read(bundle: Path) -> dict[str, Any]:
    """Return the manifest of a bundle."""
    document: dict[str, Any] = json.loads((bundle / MANIFEST).read_text())
    return document


def write(bundle: Path, manifest: dict[str, Any], *, hashed: bool) -> None:
    """Write a manifest, with the hash of its content if ``hashed``."""
    from attn2trt.core.manifest import HASH, manifest_hash

    if hashed:
        manifest = {**manifest, HASH: manifest_hash(manifest)}
    (bundle / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def rehash(bundle: Path, name: str) -> None:
    """Let the manifest list ``name`` as it lies there now."""
    import hashlib

    content = (bundle / name).read_bytes()
    manifest = read(bundle)
    entry = manifest["files"].setdefault(name, {})
    entry.update({"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)})
    write(bundle, manifest, hashed=True)
