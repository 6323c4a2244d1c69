"""The place of a bundle: checked before any work, and the same one if the user's code changes the folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_bundle import write

from attn2trt.core import destination
from attn2trt.core.bundle import Bundle
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.errors import InputError, StorageError
from attn2trt.modules.target import Target
from attn2trt.workflows.place import DEFAULT_FOLDER, Place


def target(name: str) -> Target:
    def build() -> None:
        raise AssertionError("nothing is built")

    return Target(name=name, build=build, inputs=())  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_name_gives_the_folder(here: Path) -> None:
    assert Place("resnet50+cbam", None).of(target("resnet50+cbam")) == here / DEFAULT_FOLDER / "resnet50+cbam"
    assert Place(target("Gate"), None).of(target("Gate")) == here / DEFAULT_FOLDER / "Gate"
    assert Place("se", "mine").of(target("se")) == here / "mine"


def test_a_place_that_is_taken_is_refused_at_once(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="mine"):
        Place("se", "mine")


def test_code_that_changes_the_folder_changes_no_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("se", "mine")
    made = Bundle(place.of(target("se")), {})
    assert place.named(made).path == Path("mine")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert place.absolute("photographs") == here / "photographs"
    assert place.absolute(here / "weights.pt") == here / "weights.pt"
    assert place.absolute(None) is None
    assert place.named(made).path == here / "mine"


def test_a_folder_that_is_gone_is_no_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "gone").mkdir()
    monkeypatch.chdir(here / "gone")
    place = Place("se", here / "mine")
    made = Bundle(place.of(target("se")), {})
    (here / "gone").rmdir()
    assert place.named(made).path == here / "mine"


def test_a_bundle_in_a_folder_that_is_read_only_may_be_reused_and_not_replaced(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(here / "mine")
    why = f"nothing can be written in {here} (Read-only file system); expected a folder"
    monkeypatch.setattr(destination, "why_not_writable", lambda folder: "Read-only file system" * (folder == here))
    assert Place("se", "mine").path == here / "mine"
    with pytest.raises(StorageError, match=re.escape(f"received -o {here / 'mine'}, and {why}")):
        BundleWriter(here / "mine").__enter__()
    with pytest.raises(StorageError, match=re.escape(f"received -o new, and {why}")):
        Place("se", "new")
