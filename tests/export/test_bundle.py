"""A bundle is whole or absent, and every change to it is found."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from small_bundle import write
from small_graph import healthy

from attn2trt.errors import InputError
from attn2trt.export.bundle import MANIFEST, MODEL, REFERENCE, Bundle, open_bundle, verify
from attn2trt.export.bundle_writer import BundleWriter


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write(tmp_path / "mine")


def problems(path: Path) -> list[str]:
    return [f"{finding.file}: {finding.detail}" for finding in verify(path) if not finding.ok]


def test_a_whole_bundle_opens_and_verifies(bundle: Bundle) -> None:
    assert sorted(file.name for file in bundle.path.iterdir()) == sorted([MANIFEST, MODEL, REFERENCE])
    opened = open_bundle(bundle.path)
    assert opened.axes["batch"].max == 8
    assert opened.inputs[0].shape == ("batch", 3)
    assert problems(bundle.path) == []


def test_a_changed_a_missing_and_two_swapped_files_are_found(bundle: Bundle) -> None:
    model, reference = bundle.path / MODEL, bundle.path / REFERENCE
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert [line.split(":")[0] for line in problems(bundle.path)] == [MODEL]
    model.unlink()
    assert problems(bundle.path) == [f"{MODEL}: missing"]
    model.write_bytes(reference.read_bytes())
    reference.write_bytes(content)
    assert len(problems(bundle.path)) == 2


def test_a_link_out_of_the_bundle_is_found(bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (bundle.path / REFERENCE).rename(outside)
    (bundle.path / REFERENCE).symlink_to(outside)
    assert problems(bundle.path) == [f"{REFERENCE}: is a link that leaves the bundle"]


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/../../b", "C:\\x", ""])
def test_a_manifest_that_leaves_the_folder_is_refused(bundle: Bundle, name: str) -> None:
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    manifest["files"][name] = manifest["files"][MODEL]
    (bundle.path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="leaves the bundle"):
        open_bundle(bundle.path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": 99}', '{"format": 1}', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_a_damaged_manifest_is_one_clear_line(bundle: Bundle, text: str | bytes) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    (bundle.path / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match="deploy the target again") as caught:
        open_bundle(bundle.path)
    assert "\n" not in str(caught.value)


def test_weights_outside_of_the_manifest_are_found(bundle: Bundle) -> None:
    model = healthy()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    content = model.SerializeToString()
    (bundle.path / MODEL).write_bytes(content)
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    import hashlib

    manifest["files"][MODEL]["sha256"] = hashlib.sha256(content).hexdigest()
    (bundle.path / MANIFEST).write_text(json.dumps(manifest))
    assert problems(bundle.path) == [f"{MODEL}: refers to '../../secret', which the manifest does not list"]


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(InputError, match="holds other files and is not a bundle"), BundleWriter(folder):
        raise AssertionError
    assert [file.name for file in folder.iterdir()] == ["cat.jpg"]


def test_an_error_on_the_way_leaves_nothing_and_keeps_the_old_bundle(bundle: Bundle) -> None:
    def interrupted() -> None:
        with BundleWriter(bundle.path) as writer:
            (writer.path / MODEL).write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [entry.name for entry in bundle.path.parent.iterdir()] == [bundle.path.name]
    assert problems(bundle.path) == []
