"""Copies of a bundle's files: the listed bytes, or an error that says who changed them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from attn2trt.core.bundle import Bundle
from attn2trt.core.snapshot import copy_files
from attn2trt.errors import CheckFailed, StorageError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A folder with the files of a bundle, and a manifest with nothing but their hashes."""
    folder = tmp_path / "bundle"
    (folder / "plans").mkdir(parents=True)
    contents = {"model.onnx": b"graph", "plans/a.plan": b"plan", "infer.py": b"script"}
    files = {name: {"sha256": hashlib.sha256(content).hexdigest()} for name, content in contents.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return Bundle(folder, {"files": files})


@pytest.fixture(autouse=True)
def opened(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The manifest that is found in the folder now, for a test to change."""
    found: dict[str, Any] = json.loads(json.dumps(dict(bundle.manifest)))
    monkeypatch.setattr("attn2trt.core.snapshot.open_bundle", lambda path: Bundle(Path(path), found))
    return found


def test_the_named_files_are_copied(bundle: Bundle, tmp_path: Path) -> None:
    held = copy_files(bundle, ["model.onnx", "plans/a.plan"], tmp_path / "held")
    assert held.manifest is bundle.manifest
    files = {path.relative_to(held.path).as_posix(): path.read_bytes() for path in held.path.rglob("*.*")}
    assert files == {"model.onnx": b"graph", "plans/a.plan": b"plan"}
    (bundle.path / "model.onnx").write_bytes(b"other")
    assert held.model_path.read_bytes() == b"graph"


@pytest.mark.parametrize(("content", "words"), [(b"other", "changed: its sha256 is d9298a10d1b0…"), (None, "missing")])
def test_a_file_that_is_not_the_listed_one_is_refused(
    bundle: Bundle, tmp_path: Path, content: bytes | None, words: str
) -> None:
    (bundle.path / "model.onnx").unlink()
    if content is not None:
        (bundle.path / "model.onnx").write_bytes(content)
    with pytest.raises(CheckFailed, match=f"model.onnx: {words}.*; deploy the target again or restore the file"):
        copy_files(bundle, ["model.onnx"], tmp_path / "held")


def test_a_bundle_that_was_replaced_says_so(bundle: Bundle, tmp_path: Path, opened: dict[str, Any]) -> None:
    (bundle.path / "model.onnx").write_bytes(b"other")
    opened["opset"] = 18
    with pytest.raises(StorageError, match="was replaced by another command meanwhile; run this one again"):
        copy_files(bundle, ["model.onnx"], tmp_path / "held")
