"""Files that come from another machine: nothing is written outside of the folder, nor with another content."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from attn2trt.core.file_hashes import verify
from attn2trt.errors import StorageError
from attn2trt.workflows.sweeps.pack import pack, unpack


def entry(content: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(content).hexdigest(), content


def test_a_folder_arrives_as_it_was_without_links_and_scratch(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("out", "bundle/bundle.json", "bundle/plans/a.plan", ".partial-1/x", "bundle/.tuning.partial-1"):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (source / "link").symlink_to("/etc/passwd")
    packed = pack(source)
    assert sorted(packed) == ["bundle/bundle.json", "bundle/plans/a.plan", "out"]
    target.mkdir()
    unpack(packed, target)
    assert (target / "bundle/plans/a.plan").read_bytes() == b"bundle/plans/a.plan"


def test_files_of_a_bundle_have_the_hashes_of_its_manifest(tmp_path: Path, small: Path) -> None:
    shutil.copytree(small, tmp_path / "job/bundle")
    (tmp_path / "job/empty").touch()
    packed = pack(tmp_path / "job")
    shutil.rmtree(tmp_path / "job")
    unpack(packed, tmp_path / "whole")
    assert all(part.ok for part in verify(tmp_path / "whole/bundle"))
    assert (tmp_path / "whole/empty").read_bytes() == b""
    shutil.copytree(small, tmp_path / "changed/bundle")
    (tmp_path / "changed/bundle/model.onnx").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"received bundle/model\.onnx with another content than was sent"):
        unpack(pack(tmp_path / "changed"), tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "a\\b", "c:x", "a/./b", "a\0b", 3, b"a"], ids=repr
)
def test_no_path_leaves_the_folder(name: Any, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(StorageError, match="expected a path inside of its folder"):
        unpack({"good": entry(b"1"), name: entry(b"2")}, target)
    assert [*tmp_path.rglob("*")] == [target]


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        ({"x": (entry(b"1")[0], b"2")}, "received x with another content than was sent"),
        ({"x": b"1"}, "received x without its content"),
        ({"x": ("0", "text")}, "received x without its content"),
        ([], "received files as list"),
    ],
)
def test_what_is_not_whole_is_not_written(packed: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=words):
        unpack(packed, tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_link_that_is_there_is_not_followed(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    target.mkdir()
    (target / "x").symlink_to(outside)
    with pytest.raises(FileExistsError):
        unpack({"x": entry(b"1")}, target)
    assert not outside.exists()
