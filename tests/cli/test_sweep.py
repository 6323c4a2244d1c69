"""``attn2trt sweep`` on the command line: its output, its errors, its lines of progress."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import NoReturn

import pytest
from cli_run import refused
from cli_run import run as run_command

from attn2trt.cli.job_child import option_words
from attn2trt.cli.sweep_progress import progress_lines
from attn2trt.core.schedule import Event, Node
from attn2trt.errors import InputError
from attn2trt.workflows.sweep import Progress

run = functools.partial(run_command, "sweep")
HERE = Node("here", "here", 1)


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("targets = []", (), "an empty list of targets in sweep.toml; expected one or more"),
        ('targets = ["se"]', ("--csv", "--json"), "received --csv and --json; expected one of them on stdout"),
        ('targets = ["se"]', ("--ray", "auto", "-j", "2"), "received --jobs with --ray"),
        ('targets = ["se"]', ("--shared",), "received --shared without --ray"),
        ('targets = ["se"]', ("--retries", "-1"), "Invalid value for '--retries'"),
        ('targets = ["se"]', ("-o", "sweep.toml"), "sweep.toml is a file; expected a folder for the results"),
        ('targets = ["a"]\nverbs = ["compile"]', (), "a is not a bundle: it is not there"),
        ('targets = ["se"]\n[deploy]\nshap = "1x3"', (), "received, under [deploy] in sweep.toml, shap; expected an"),
    ],
)
def test_wrong_input_is_one_line(
    text: str, arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.toml").write_text(text)
    assert words in refused(run("sweep.toml", *arguments))


@pytest.mark.parametrize(
    ("verb", "values", "words"),
    [
        ("deploy", {"shape": ["1x3x8x8", "ids=1x4"], "seed": 3, "pretrained": True}, 4),
        ("deploy", {"pretrained": False}, 0),
        ("compile", {"for": "sm86", "level": 3, "version-compatible": True}, 3),
        ("benchmark", {"seconds": 0.5, "batch": "1,8", "runtime": ["ort-cpu"]}, 3),
    ],
)
def test_options_are_those_of_the_command(verb: str, values: dict[str, object], words: int) -> None:
    assert len(option_words(verb, values)) == words


@pytest.mark.parametrize(
    ("verb", "values", "words"),
    [
        ("deploy", {"shpe": "1x3"}, r"shpe; expected an option of attn2trt deploy; did you mean shape"),
        ("deploy", {"pretrained": "yes"}, "pretrained = 'yes'; expected true or false"),
        ("deploy", {"opset": [17, 18]}, r"opset = \[17, 18\]; expected one value; for several, give one set"),
        ("deploy", {"opset": 1.5}, "'1.5' is not a valid integer"),
        ("deploy", {"checkpoint": "nowhere.safetensors"}, "which is not there; expected a file of weights"),
        ("compile", {"without-tactics": "nosuch"}, "'nosuch' is not one of"),
        ("benchmark", {"batch": 0}, "received --batch '0'"),
    ],
)
def test_an_option_that_the_command_would_not_take_is_an_error(
    verb: str, values: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        option_words(verb, values)


def test_the_limit_of_a_stage_is_not_changed_by_reading_options() -> None:
    from attn2trt.core.processes import stage_seconds

    before = stage_seconds()
    option_words("deploy", {"time-limit": 1.5})
    assert stage_seconds() == before


def test_a_sweep_of_something_that_is_there_prints_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle of an earlier version, validated: a real command that needs no PyTorch. The bundle is left as it is."""
    monkeypatch.chdir(tmp_path)
    bundle = Path(__file__).resolve().parents[1] / "core/format1_coord_att"
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    Path("sweep.toml").write_text(f"verbs = ['validate']\ntargets = ['{bundle}']\n")
    found = run("sweep.toml", "--json")
    document = json.loads(found.stdout)
    (job,) = document["jobs"]
    assert job["status"] in ("passed", "failed"), found.stderr
    assert found.exit_code == job["exit_code"]
    assert found.stderr.startswith("[1/1] validate ")
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
    table = run("sweep.toml", "--resume")
    assert "reused" in table.stdout
    assert table.stdout.splitlines()[-2:] == ["results  sweep", "report   sweep/report.html"]
    assert run("sweep.toml", "--resume", "--csv").stdout.startswith("verb,target,precision")


def test_an_interrupted_sweep_says_how_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("attn2trt.workflows.sweep.sweep", interrupted)
    (tmp_path / "sweep.toml").touch()
    done = run(tmp_path / "sweep.toml")
    assert (done.exit_code, done.stdout) == (130, "")
    note = "note: every result that is whole stays; the same command with --resume goes on"
    assert done.stderr == f"{note}\ninterrupted\n"


def test_a_terminal_shows_the_jobs_that_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    names = [f"se{number}" for number in range(18)]
    with progress_lines() as show:
        for name in names:
            show(Progress(Event("started", f"deploy {name}", HERE), 0, 18))
        show(Progress(Event("died", "deploy se0", HERE, why="its worker died"), 0, 18))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "[0/18] deploy se0: died on here, to be run again: its worker\ndied" in text
    shown = [*(f"deploy {name}  here" for name in names[1:17]), "and 1 more", "0 of 18 jobs done"]
    assert [line.split(" s ")[-1].strip() for line in text.splitlines()][-19:-1] == shown
