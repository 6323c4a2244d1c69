"""A bundle as small as one can be, written as ``deploy`` writes its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from small_graph import healthy

from attn2trt.core.bundle import Bundle
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.core.manifest import MODEL, REFERENCE

CONTENT: dict[str, Any] = {
    "target": {"name": "mine"},
    "axes": {"batch": [1, 2, 8]},
    "inputs": [{"name": "x", "shape": ["batch", 3], "dtype": "float32"}],
    "outputs": [],
    "cases": [],
    "verdict": {},
}


def write(destination: Path) -> Bundle:
    """A bundle of two files at ``destination``."""
    with BundleWriter(destination) as writer:
        onnx.save(healthy(), writer.path / MODEL)
        (writer.path / REFERENCE).write_bytes(b"reference")
        (writer.path / "scratch").write_bytes(b"not to be kept")
        return writer.commit(CONTENT, {MODEL: "graph", REFERENCE: "cases"})
