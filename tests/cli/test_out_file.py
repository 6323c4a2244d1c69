"""A file of the user's is never replaced, nor anything that is no file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import served_bundle
from cli_run import run
from odd_files import bind_socket, make_device

from attn2trt.cli.out_file import PAGE, TITLE, OutFile, out_file
from attn2trt.errors import InputError

OURS = json.dumps({"command": "attn2trt benchmark", "rows": []})


def placed(place: Path, *, force: bool = False) -> OutFile:
    found = out_file(place, force=force, example="latency.json")
    assert found is not None
    return found


def link_to_ours(place: Path) -> None:
    place.with_name("ours.json").write_text(OURS)
    place.symlink_to("ours.json")


NO_FILES: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "link": link_to_ours,
    "link to nothing": lambda place: place.symlink_to("nowhere"),
    "FIFO": os.mkfifo,
    "socket": bind_socket,
    "device": make_device,
}
FILES = {
    "notes": "precious",
    "somebody's JSON": '{"name": "my app"}',
    "a command of somebody else": '{"command": "rm -rf"}',
    "a list": '["attn2trt benchmark"]',
    "empty": "",
    "deep": "[" * 100_000,
    "about us": "the plot of attn2trt cost, and its Title",
    "a sweep": '{"command": "attn2trt sweep", "jobs": []}',
    "a command line": '{"command": "attn2trt benchmark se -o x.json"}',
    "what is installed": '{"installed": [{"name": "attn2trt"}]}',
    "notes with a verdict in them": "# My notes\n<!-- attn2trt se -->\n### attn2trt: se",
    "a page about a page": f"<!DOCTYPE html><pre>{' ' * 3000}{PAGE}</pre>",
    "a log": "built\n::error title=attn2trt se::FAILED",
    "another analyser": '{"runs": [{"tool": {"driver": {"name": "other"}}}]}',
}


def about(place: Path) -> tuple[int, int, int]:
    found = place.lstat()
    return found.st_mode, found.st_ino, found.st_size


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_regular_file_is_refused_also_by_force(kind: str, force: bool, tmp_path: Path) -> None:
    place = tmp_path / "latency.json"
    NO_FILES[kind](place)
    before = about(place)
    with pytest.raises(InputError, match=r"expected (the name of a file|a regular file or none); give one"):
        placed(place, force=force)
    assert about(place) == before


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_the_users_is_replaced_by_force_alone(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "latency.json"
    place.write_text(FILES[kind])
    with pytest.raises(InputError, match="a file that this command did not write; expected one that it did"):
        placed(place)
    assert place.read_text() == FILES[kind]
    placed(place, force=True).write_document({"command": "attn2trt benchmark"})
    assert json.loads(place.read_text()) == {"command": "attn2trt benchmark"}
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "plans/sm86-trt10.9.0-fp32.plan", "latency.json"])
def test_a_file_in_a_bundle_is_never_written(name: str, force: bool, tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "b", plans=[served_bundle.plan()], command="attn2trt benchmark").path
    before = sorted(tmp_path.rglob("*")), (bundle / "bundle.json").read_bytes()
    with pytest.raises(InputError, match="a file in the bundle b, which holds its own alone; expected one in no "):
        placed(bundle / name, force=force)
    assert (sorted(tmp_path.rglob("*")), (bundle / "bundle.json").read_bytes()) == before


def test_no_file_is_named_as_other_tools_name_their_stdout() -> None:
    with pytest.raises(InputError, match="received -o -, as other tools name their stdout; expected the name of a"):
        placed(Path("-"))


def test_a_document_of_ours_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        placed(tmp_path / "latency.json").write_document({"command": "attn2trt cost"})
    assert [path.name for path in tmp_path.iterdir()] == ["latency.json"]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_plot_of_ours_is_replaced_and_no_other(suffix: str, tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    for title, ours in ((TITLE, True), ("my plot", False)):
        place = tmp_path / f"{title}{suffix}"
        figure.savefig(place, metadata={"Title": title})
        if ours:
            placed(place)
        else:
            with pytest.raises(InputError, match="did not write"):
                placed(place)


def test_what_is_put_there_meanwhile_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "latency.json"
    file = placed(place)
    place.write_text("mine")
    with pytest.raises(InputError, match="did not write"):
        file.write_document({})
    assert place.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [place]


def test_the_folder_is_the_one_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    file = placed(Path("latency.json"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    file.write_document({})
    assert (tmp_path / "latency.json").is_file()


@pytest.mark.parametrize(
    "words", [("benchmark", "se", "-o"), ("cost", "resnet18+se", "-o"), ("cost", "x+se", "--plot")]
)
def test_the_commands_refuse_it_before_any_work(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.png").write_text("mine")
    result = run(*words, "mine.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "mine.png, a file that this command did not write" in result.stderr
    assert (tmp_path / "mine.png").read_text() == "mine"
