"""A path to be read is there, of the right kind and readable, or one line says what was received and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attn2trt.core.input_path import Kind, require_readable, require_utf8
from attn2trt.errors import InputError, StorageError


@pytest.mark.parametrize("kind", ["file", "either"])
def test_a_file_is_taken_even_if_it_is_empty(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "a").touch()
    assert require_readable(tmp_path / "a", "a file", kind=kind) == tmp_path / "a"


@pytest.mark.parametrize("kind", ["folder", "either"])
def test_a_folder_is_taken_by_those_who_want_one(tmp_path: Path, kind: Kind) -> None:
    assert require_readable(tmp_path, "a folder", kind=kind) == tmp_path


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("missing", "file", "which is not there; expected a thing; correct the path"),
        ("missing", "folder", "which is not there; expected a thing; correct the path"),
        ("file/below", "either", "which is not there; expected a thing; correct the path"),
        ("zero\0byte", "file", "which is not there; expected a thing; correct the path"),
        ("n" * 300, "either", "which is not there; expected a thing; correct the path"),
        ("loose", "file", "which is not there; expected a thing; correct the path"),
        ("folder", "file", "a folder; expected a thing; name the file in it"),
        ("file", "folder", "a file; expected a thing; name the folder that holds it"),
        ("pipe", "either", "a device, FIFO or socket; expected a thing; give one"),
    ],
)
def test_anything_else_is_bad_input(tmp_path: Path, name: str, kind: Kind, words: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loose").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for option, received in (("", "received "), ("--thing", "received --thing ")):
        with pytest.raises(InputError) as caught:
            require_readable(tmp_path / name, "a thing", option=option, kind=kind)
        assert str(caught.value) == f"{received}{tmp_path / name}, {words}"


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("what", ["pathlib.Path.open", "os.scandir", "pathlib.Path.stat"])
def test_what_may_not_be_read_is_an_error_of_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Root may read everything, so that the refusal is made here."""
    (tmp_path / "file").touch()
    path = tmp_path if what == "os.scandir" else tmp_path / "file"
    with monkeypatch.context() as patch:
        patch.setattr(what, refuse)
        with pytest.raises(StorageError, match=r"^reading .* failed: Permission denied; fix the permission$"):
            require_readable(path, "a thing", kind="either")


def test_a_byte_of_zero_is_in_no_path() -> None:
    with pytest.raises(
        InputError, match=r"^received -o 'a\\x00b', with a byte of zero, which no path holds; rename it$"
    ):
        require_utf8("a\0b", "-o ")
