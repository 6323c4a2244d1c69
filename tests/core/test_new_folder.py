"""A folder that a command fills is there whole or not at all, whoever else writes there, and however it ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attn2trt.core.lock import owner, try_lock
from attn2trt.core.new_folder import new_folder
from attn2trt.errors import InputError

LONG = "n" * 255


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(place: Path) -> None:
    with new_folder(place) as folder:
        (folder / "file").write_text("ours")


@pytest.mark.parametrize("name", ["new", "deep/er/new", "empty", LONG, os.fsdecode(b"\xff")])
def test_it_is_made_and_an_empty_one_is_taken(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fill(tmp_path / name)
    assert names(tmp_path / name) == ["file"]
    assert names((tmp_path / name).parent) == sorted({"empty", name} if "/" not in name else {"new"})


def test_behind_a_link_to_its_parent_as_well(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    fill(tmp_path / "link" / "new")
    assert names(tmp_path / "real") == ["new"]


def test_what_another_command_puts_there_meanwhile_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "new"

    def at_once() -> None:
        with new_folder(place) as folder:
            (folder / "file").write_text("ours")
            place.mkdir()
            (place / "file").write_text("theirs")

    with pytest.raises(InputError, match="new is not empty; expected a folder of its own"):
        at_once()
    assert (names(tmp_path), names(place), (place / "file").read_text()) == (["new"], ["file"], "theirs")


def test_what_a_killed_command_left_goes_and_a_running_ones_stays(tmp_path: Path) -> None:
    running, killed = (tmp_path / f".new.partial-{number}{owner()[-9:]}" for number in (1, 2))
    for folder in (running, killed):
        folder.mkdir()
        (folder / "half").touch()
    lock = try_lock(running)
    assert lock is not None
    fill(tmp_path / "new")
    lock.release()
    assert names(tmp_path) == [running.name, "new"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("link", "link is a symbolic link; what this command writes is a folder of its own"),
        ("dangling", "dangling is a symbolic link"),
        ("file", "file is a file"),
        ("file/new", "new lies below a file"),
        ("full", "full is not empty"),
        (".", "the current folder or one above it, which what this command writes would replace"),
    ],
)
def test_anything_else_is_refused_and_stays(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here" if name == "." else tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").touch()
    (tmp_path / "link").symlink_to("here")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").touch()
    before = names(tmp_path)
    with pytest.raises(InputError, match=message):
        fill(Path(name))
    assert names(tmp_path) == before


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "volume")
    with pytest.raises(InputError, match="volume is a mount point, which cannot be replaced; give a folder in it"):
        fill(tmp_path / "volume")


def test_an_error_leaves_all_as_it_was(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "deep" / "new") as folder:
            (folder / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == []
