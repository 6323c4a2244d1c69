"""Every path that a command reads, missing, of the wrong kind or not readable: one line and its exit code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest
import served_bundle
from cli_run import refused
from cli_run import run as run_command
from click.testing import Result

from attn2trt.cli.commands import COMMANDS, group
from attn2trt.core.bundle import open_bundle
from attn2trt.errors import InputError
from attn2trt.modules.checkpoint import locate

# PATH stands for what is given; good.onnx is read later, if at all
FILES = [
    ("check PATH", "an ONNX file"),
    ("deploy onnx:PATH", "an ONNX file"),
    ("export onnx:PATH", "an ONNX file"),
    ("check good.onnx --plan PATH --trust", "a TensorRT plan"),
    ("sweep PATH", "the TOML file of a sweep"),
    ("deploy se --checkpoint PATH", "a file of weights"),
    ("export se --checkpoint PATH", "a file of weights"),
    ("benchmark se --checkpoint PATH", "a file of weights"),
    ("cost resnet18+se --checkpoint PATH", "a file of weights"),
    ("check good.onnx --against se --checkpoint PATH", "a file of weights"),
    ("deploy se --preprocessing PATH", "JSON as "),
    ("validate bundle --dataset images --preprocessing PATH", "JSON as "),
    ("report bundle --add PATH", "what attn2trt cost or attn2trt benchmark writes with -o"),
]
FOLDERS = [("deploy se --inputs PATH", "a folder of photographs"), ("check good.onnx --inputs PATH", "a folder of")]
EITHER = [("deploy se --precision fp32,int8 --calibrate PATH", "a folder of photographs, or a file ending in .npz")]
BUNDLES = ["compile", "validate", "verify", "benchmark", "tune", "report", "programs -o out"]
OF_BUNDLES = [f"{command} PATH" for command in BUNDLES]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "file").touch()
    return tmp_path


def run(command: str, path: str) -> Result:
    before = sorted(Path().rglob("*"))
    result = run_command(*(part.replace("PATH", path) for part in command.split()))
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert sorted(Path().rglob("*")) == before
    return result


@pytest.mark.parametrize(("command", "expected"), [*FILES, *FOLDERS, *EITHER])
def test_what_is_not_there_is_bad_input(command: str, expected: str) -> None:
    result = run(command, "missing")
    assert result.exit_code == 2
    assert f"missing, which is not there; expected {expected}" in result.stderr
    assert result.stderr.endswith("; correct the path\n")


@pytest.mark.parametrize(("command", "expected"), FILES)
def test_a_folder_for_a_file_is_bad_input(command: str, expected: str) -> None:
    result = run(command, "folder")
    assert result.exit_code == 2
    assert f"folder, a folder; expected {expected}" in result.stderr
    assert result.stderr.endswith("; name the file in it\n")


@pytest.mark.parametrize(("command", "expected"), FOLDERS)
def test_a_file_for_a_folder_is_bad_input(command: str, expected: str) -> None:
    result = run(command, "file")
    assert result.exit_code == 2
    assert f"file, a file; expected {expected}" in result.stderr
    assert result.stderr.endswith("; name the folder that holds it\n")


@pytest.mark.parametrize("command", [command for command, _ in (*FILES, *EITHER)])
def test_what_may_not_be_read_is_an_error_of_reading(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path.open

    def opened(path: Path, *given: Any, **options: Any) -> Any:
        if path.name == "secret":
            raise PermissionError(13, "Permission denied")
        return own(path, *given, **options)

    monkeypatch.setattr(Path, "open", opened)
    result = run(command, "secret")
    assert result.exit_code == 4
    assert result.stderr == "error: reading secret failed: Permission denied; fix the permission\n"


@pytest.mark.parametrize("command", BUNDLES)
@pytest.mark.parametrize("path", ["missing", "folder", "file", "model.onnx"])
def test_what_is_no_bundle_is_bad_input(command: str, path: str, place: Path) -> None:
    if path == "model.onnx":
        (place / path).mkdir()  # a folder that is named as a file
    name, *more = command.split()
    result = run(" ".join((name, f"./{path}", *more)), "")
    assert result.exit_code == 2
    why = {"missing": "it is not there", "file": "it is a file"}.get(path, "it holds no bundle.json")
    assert result.stderr == (f"error: {path} is not a bundle: {why}; give the folder that `attn2trt deploy` printed\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_text_is_read_as_nothing(name: str, place: Path) -> None:
    """An empty path is the current folder to Python, and what a shell makes of a variable that is not set."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    needed = ["x" for one in arguments if one.required]
    given = [(one.opts[0], [*needed, one.opts[0], ""]) for one in command.params if takes_text(one)]
    given += [(one.opts[0], [*needed, f"{one.opts[-1]}="]) for one in command.params if takes_text(one)]
    given += [(one.human_readable_name, [""]) for one in arguments[:1]]
    for shown, words in given:
        start = f"error: received {shown} '', an empty text, as a shell makes of a variable without a value; expected "
        assert refused(run_command(name, *words)).startswith(start)
    assert sorted(path.name for path in place.iterdir()) == ["file", "folder", "secret"]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_in_the_place_of_a_value_is_no_value(name: str, place: Path) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    for option in filter(takes_text, command.params):
        for other in ("--help", "--json"):
            result = run_command(name, "x", option.opts[-1], other)
            assert result.exit_code == 2
            start = f"error: received {option.opts[-1]} without a value, before {other}; expected one; write it; see "
            assert result.stderr.startswith(start), result.stderr


@pytest.mark.parametrize("again", [["--dynamic", "height"], ["--dynamic=height"], ["-o", "a", "-ob"]])
def test_an_option_for_one_value_that_is_given_twice_is_refused(again: list[str], place: Path) -> None:
    result = run_command("deploy", "se", "--dynamic", "batch=1:2:8", *again)
    name = "--out" if "-o" in again else "--dynamic"
    start = f"error: received {name} 2 times; expected it once; write everything behind one {name}; see "
    assert (result.exit_code, result.stderr.startswith(start)) == (2, True), result.stderr


def test_what_only_looks_like_an_option_is_a_value(place: Path) -> None:
    result = run_command("verify", "--", "--json", "--help")
    assert "unexpected extra argument" in result.stderr
    assert "received shape '-1x3x8x8'" in run_command("deploy", "se", "--shape", "-1x3x8x8").stderr


def takes_text(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.count


@pytest.mark.parametrize("command", ["sweep one.toml", "triton bundle", "programs bundle", "report bundle"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x" * 300, "(File name too long); expected names of at most 255 bytes"),
        (
            "x/" * 2500 + "x",
            "so that the files in it have paths; give a shorter one|"
            "(File name too long); expected names of at most 255 bytes",
        ),
        ("loop/x", "a"),
        ("file/x", "a"),
        ("a\0b", "with a byte of zero, which no path holds"),
    ],
)
def test_a_path_that_the_system_does_not_take_is_bad_input(command: str, path: str, expected: str, place: Path) -> None:
    (place / "one.toml").write_text('verbs = ["deploy"]\ntargets = ["se"]\n')
    (place / "loop").symlink_to("loop")
    served_bundle.write(place / "bundle")
    line = refused(run_command(*command.split(), "-o", path))
    assert any(words in line for words in expected.split("|"))
    assert len(line) < 500


def test_the_home_folder_is_meant_by_a_tilde_that_the_shell_left(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    for words in (["verify", "~/x"], ["deploy", "se", "--inputs=~/x"], ["report", "~/x", "--out=~/x.html"]):
        assert f"{place}/x" in refused(run_command(*words))


def test_an_empty_path_is_no_bundle_and_no_checkpoint_from_python_either() -> None:
    with pytest.raises(InputError, match="received an empty path; expected the folder of a bundle"):
        open_bundle("")
    with pytest.raises(InputError, match="received an empty checkpoint; expected a file of weights"):
        locate("")


def test_of_the_manifest_of_a_bundle_its_folder_is_named(place: Path) -> None:
    (place / "folder" / "bundle.json").write_text("{}")
    result = run("verify ./folder/bundle.json", "")
    assert result.exit_code == 2
    why = "it is the manifest of one; give its folder, folder"
    assert result.stderr == f"error: folder/bundle.json is not a bundle: {why}\n"


@pytest.mark.parametrize(
    "command",
    [*(command for command, _ in (*FILES, *FOLDERS, *EITHER)), *OF_BUNDLES, "show PATH", "deploy se --out=PATH"],
)
def test_a_name_that_is_not_utf8_is_bad_input_of_every_command(command: str, place: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (place / name).mkdir()
    result = run(command, name)
    assert result.exit_code == 2
    assert "caf\\udce9', a name that is not UTF-8, which ONNX cannot open; rename it" in result.stderr


def test_a_bundle_whose_name_is_not_utf8_is_not_opened(place: Path) -> None:
    with pytest.raises(InputError, match=r"received '.*caf\\udce9', a name that is not UTF-8"):
        open_bundle(place / os.fsdecode(b"caf\xe9"))
