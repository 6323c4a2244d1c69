"""Add files to a bundle that is there already, the manifest last and in one rename."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from .bundle import MANIFEST, Bundle, sha256


def extend(bundle: Bundle, files: Mapping[str, str], entries: Mapping[str, Any]) -> Bundle:
    """The bundle with ``files`` (name → what it is), which lie in its folder, and other ``entries`` of the manifest.

    Until the manifest is replaced the bundle is the one that it was: a file that it does not list is not part of it.
    """
    listed = dict(bundle.manifest["files"])
    for name, role in files.items():
        file = bundle.path / name
        listed[name] = {"role": role, "sha256": sha256(file), "bytes": file.stat().st_size}
    manifest = {**bundle.manifest, **entries, "files": listed}
    partial = bundle.path / f".{MANIFEST}.partial-{os.getpid()}"
    try:
        partial.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.replace(bundle.path / MANIFEST)
    finally:
        partial.unlink(missing_ok=True)
    return Bundle(bundle.path, manifest)
