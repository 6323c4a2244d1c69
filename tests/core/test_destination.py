"""A bundle goes to a place that is free or ours; everything else is refused and stays as it was."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import served_bundle
from cli_run import refused, run
from odd_files import bind_socket, make_device
from small_bundle import CONTENT, write

from attn2trt.cli.commands import COMMANDS, group
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.core.destination import check_destination
from attn2trt.core.manifest import MANIFEST, MODEL, REFERENCE
from attn2trt.core.new_folder import require_free
from attn2trt.engines.triton import repository
from attn2trt.errors import InputError
from attn2trt.workflows.sweeps import folders
from attn2trt.workflows.triton import write_triton_repository


def check_repository(place: Path) -> None:
    repository.check_place(place, ["m"], add=True)


def check_sweep(place: Path) -> None:
    folders.check_place(place, resume=True)


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes | str]]:
    """Kind, inode and content of everything in the folder."""
    found: dict[str, tuple[int, int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content: bytes | str = b""
        if stat.S_ISREG(about.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(about.st_mode):
            content = str(path.readlink())
        found[str(path.relative_to(folder))] = (about.st_mode, about.st_ino, content)
    return found


def link_to_bundle(place: Path) -> None:
    write(place.with_name("v3"))
    place.symlink_to("v3")


def someone_elses(text: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        place.mkdir()
        (place / MANIFEST).write_text(text)
        (place / "thesis.txt").write_text("precious")

    return make


def bundle_with(add: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        write(place)
        add(place)

    return make


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "file": (lambda place: place.write_text("mine"), "is a file"),
    "fifo": (os.mkfifo, "is a FIFO"),
    "socket": (bind_socket, "is a socket"),
    "device": (make_device, "is a device"),
    "link to a bundle": (link_to_bundle, "is a symbolic link"),
    "link to nothing": (lambda place: place.symlink_to("nowhere"), "is a symbolic link"),
    "link to itself": (lambda place: place.symlink_to(place.name), "is a symbolic link"),
    "file in an empty-looking folder": (lambda place: (place.mkdir(), (place / ".hidden").touch()), "other files"),
    "link as the manifest": (
        lambda place: (place.mkdir(), write(place.with_name("v3")), (place / MANIFEST).symlink_to(f"../v3/{MANIFEST}")),
        "holds other files and is not a bundle",
    ),
    "another project": (someone_elses('{"name": "my app"}'), "not of this version of attn2trt"),
    "another format": (someone_elses('{"format": 1, "files": ["thesis.txt"]}'), "not of this version of attn2trt"),
    "no JSON": (someone_elses("// comments\n{}"), "not of this version of attn2trt"),
    "notes in a bundle": (bundle_with(lambda place: (place / "notes.txt").write_text("mine")), "holds 'notes.txt'"),
    "a bundle in a bundle": (
        bundle_with(lambda place: write(place.with_name("x")).path.rename(place / "inner")),
        "holds 'inner'",
    ),
    "an empty folder in a bundle": (bundle_with(lambda place: (place / "src").mkdir()), "holds 'src'"),
    "a file among the plans": (
        bundle_with(lambda place: ((place / "plans").mkdir(), (place / "plans" / "mine.plan").touch())),
        "holds 'plans/mine.plan'",
    ),
    "a link in a bundle": (bundle_with(lambda place: (place / "link").symlink_to("/")), "neither a file nor a folder"),
    "a link in place of a file": (
        bundle_with(lambda place: ((place / MODEL).unlink(), (place / MODEL).symlink_to("../model.onnx"))),
        "neither a file nor a folder",
    ),
    "a FIFO in place of a file": (
        bundle_with(lambda place: ((place / MODEL).unlink(), os.mkfifo(place / MODEL))),
        "neither a file nor a folder",
    ),
    "a folder in place of a file": (
        bundle_with(lambda place: ((place / MODEL).unlink(), (place / MODEL).mkdir())),
        f"holds {MODEL!r}",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_place_that_is_not_ours_is_refused_and_stays_as_it_was(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    make(tmp_path / "place")
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        check_destination(tmp_path / "place")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=words), BundleWriter(tmp_path / "place"):
        raise AssertionError
    assert snapshot(tmp_path) == before


def test_a_place_below_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    before = snapshot(tmp_path)
    for above in ("file", "dangling", "loop"):
        with pytest.raises(InputError, match="lies below"):
            check_destination(tmp_path / above / "place")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["", ".", "..", "inner/..", "{here}", "../here/."])
def test_the_current_folder_and_those_above_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="the current folder or one above it"):
        check_destination(Path(name.format(here=tmp_path / "here")))


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a name that is not UTF-8"):
        check_destination(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")))


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "volume")
    with pytest.raises(InputError, match="mount point, which cannot be replaced; give a folder in it"):
        check_destination(tmp_path / "volume")


def test_a_free_place_and_a_bundle_with_what_commands_leave_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("absent", "deep/er/absent", "empty"):
        check_destination(tmp_path / name)
    place = tmp_path / "mine"
    write(place)
    (place / MODEL).write_bytes(b"changed")
    (place / REFERENCE).unlink()
    (place / f".{MANIFEST}.partial-17").touch()
    for scratch in (".tuning.partial-17", "plans/.partial-17"):
        (place / scratch).mkdir(parents=True)
        (place / scratch / "half").touch()
    for left in ("timing.cache", "fp16.log"):
        (place / "plans" / left).touch()
    check_destination(place)
    write(place)
    assert sorted(path.name for path in place.iterdir()) == sorted([MANIFEST, MODEL, REFERENCE])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "mine"]


def test_what_is_put_there_while_a_bundle_is_built_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "mine"
    write(place)

    def build() -> None:
        with BundleWriter(place) as writer:
            (writer.path / MODEL).write_bytes(b"new")
            (place / "notes.txt").write_text("mine")
            (writer.path / REFERENCE).write_bytes(b"new")
            writer.commit(CONTENT, {MODEL: "graph", REFERENCE: "cases"})

    with pytest.raises(InputError, match=r"holds 'notes\.txt'"):
        build()
    assert (place / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_the_command_refuses_it_before_the_users_code_runs(
    force: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noticed.py").write_text("open('imported', 'w')\ndef make(): raise AssertionError\n")
    someone_elses(json.dumps({"name": "my app"}))(tmp_path / "project")
    before = snapshot(tmp_path)
    result = run("deploy", "py:noticed:make", "--shape", "2x3x8x8", "-o", "project", *force)
    assert result.exit_code == 2
    assert "project holds a bundle.json that is not of this version" in result.stderr
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("check", [check_destination, require_free, check_repository, check_sweep])
def test_a_folder_is_no_stdout_and_leaves_room_for_its_files(
    check: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"received -o -, as other tools name their stdout; expected a folder; give a"):
        check(Path("-"))
    free = os.pathconf(tmp_path, "PC_PATH_MAX") - 256 - len(os.fsencode(tmp_path))  # of which one is the stroke
    longest = "/".join(["a" * 99] * 50)[: free - 2] + "b"
    check(Path(longest))
    with pytest.raises(InputError, match=r"a path of \d+ bytes with the current folder; expected at most \d+, so that"):
        check(Path(f"{longest}b"))


@pytest.mark.parametrize("place", ["b/x", "b/deep/er/x", "b/plans/x", "b/empty", "link/x", "b/../b/x"])
def test_nothing_is_written_into_a_bundle(place: str, tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "b", plans=[served_bundle.plan()]).path
    (tmp_path / "link").symlink_to("b")
    (bundle / "empty").mkdir()
    before = snapshot(tmp_path)
    words = "which would be written into the bundle b; expected a folder that lies in no bundle; give a folder that"
    for check in (check_destination, require_free, check_repository, check_sweep):
        with pytest.raises(InputError, match=words):
            check(tmp_path / place)
    assert snapshot(tmp_path) == before


def test_nor_beside_the_files_of_one(tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "b").path
    words = f"received -o {bundle}, which would be written into the bundle b"
    with pytest.raises(InputError, match=words):
        write_triton_repository(bundle, bundle, add=True)
    with pytest.raises(InputError, match=words):
        check_sweep(bundle)
    check_destination(bundle)


# How each command is told a place to write, by its option
WRITING = {
    "deploy": ["deploy se -o PLACE", "deploy se --format sarif=PLACE"],
    "export": ["export se -o PLACE"],
    "validate": ["validate b --format junit=PLACE"],
    "check": ["check model.onnx --format markdown=PLACE"],
    "benchmark": ["benchmark se -o PLACE --force"],
    "cost": ["cost resnet18+se -o PLACE", "cost resnet18+se --plot PLACE.png"],
    "tune": ["tune b --runtime tensorrt --cache PLACE"],
    "sweep": ["sweep one.toml -o PLACE"],
    "report": ["report b -o PLACE"],
    "triton": ["triton b -o PLACE"],
    "programs": ["programs b -o PLACE"],
    "plugin": ["plugin --for sm90 -o PLACE"],
}
NAMES_A_PLACE = {"-o", "--plot", "--format", "--cache"}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_writes_into_a_bundle(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    lines = [line.split() for line in WRITING.get(name, [])]
    assert {word for line in lines for word in line} & NAMES_A_PLACE == NAMES_A_PLACE & {
        option for parameter in command.params for option in parameter.opts
    }
    monkeypatch.chdir(tmp_path)
    served_bundle.write(tmp_path / "b")
    (tmp_path / "one.toml").write_text('verbs = ["deploy"]\ntargets = ["se"]\n')
    (tmp_path / "model.onnx").touch()
    before = snapshot(tmp_path)
    for line in lines:
        stated = refused(run(*(word.replace("PLACE", "b/x") for word in line)))
        assert "b/x" in stated
        assert "the bundle b" in stated
        assert "no bundle; give" in stated
    assert snapshot(tmp_path) == before


def test_a_folder_with_another_file_of_that_name_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"name": "an application"}')
    check_destination(tmp_path / "x")
    require_free(tmp_path / "x")
