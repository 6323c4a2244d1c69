"""``--format`` prints one format or writes several, and an error that ends the command is in them as well."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any, NoReturn

import page_sample
import pytest
from cli_run import run

from attn2trt.core.bundle import Bundle
from attn2trt.errors import MissingRequirement, ModuleRefused

VERDICTS = {"good": page_sample.verdict(), "bad": page_sample.verdict(passed=False)}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with two bundles, whose verdicts ``validate`` and ``deploy`` come to by themselves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    bundles = {name: page_sample.write(Path(name), found) for name, found in VERDICTS.items()}
    Path("net.py").write_text("\n" * 20)

    def deploy(target: str, **_: Any) -> Bundle:
        if target not in bundles:
            raise ModuleRefused(f"{target} branches on its input at net.py:3: if x.sum(); use torch.where")
        return bundles[target]

    monkeypatch.setattr("attn2trt.workflows.deploy.deploy", deploy)
    monkeypatch.setattr("attn2trt.workflows.validate.validate_bundle", lambda path, **_: VERDICTS[str(path)])


@pytest.mark.parametrize("command", ["deploy", "validate"])
@pytest.mark.parametrize(("name", "code"), [("good", 0), ("bad", 1)])
@pytest.mark.parametrize(
    ("form", "begin"),
    [("github", "::"), ("junit", "<?xml"), ("sarif", "{"), ("markdown", "<!-- attn2trt mine -->")],
)
def test_one_format_is_all_that_is_printed(command: str, name: str, code: int, form: str, begin: str) -> None:
    done = run(command, name, "--format", form)
    assert done.exit_code == code, done.output
    assert done.stdout.startswith(begin)
    assert "┏" not in done.stdout


def test_two_formats_in_one_file_are_refused_before_the_work() -> None:
    done = run("deploy", "good", "--format", "junit=a.out", "--format", "sarif=./a.out")
    assert (done.exit_code, done.stdout, Path("a.out").exists()) == (2, "", False)
    assert "received --format sarif=./a.out, a file that another --format is written to" in done.stderr


def test_files_are_written_beside_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    Path("summary.md").write_text("before\n")
    for _ in range(2):  # what a command wrote is written again
        files = ("--format", "sarif=a.sarif", "--format", "junit=a.xml", "--format", "markdown=a.md")
        done = run("deploy", "bad", "--format", "github", *files)
        assert done.exit_code == 1, done.output
    assert done.stdout.startswith("::error file=net.py,line=12,")
    assert json.loads(Path("a.sarif").read_text())["version"] == "2.1.0"
    assert Path("a.xml").read_text().startswith("<?xml")
    assert Path("summary.md").read_text() == "before\n" + 2 * Path("a.md").read_text()
    done = run("validate", "good", "--format", "sarif=a.sarif")
    assert "what was found" in done.stdout
    done = run("validate", "good", "--format", "sarif=a.sarif", "--json")
    assert json.loads(done.stdout)["passed"] is True


def test_a_run_that_is_killed_leaves_no_verdict_of_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    assert run("validate", "good", "--format", "junit=a.xml").exit_code == 0
    monkeypatch.setattr("attn2trt.workflows.validate.validate_bundle", killed)
    assert run("validate", "good", "--format", "junit=a.xml").exit_code != 0
    assert 'errors="1"' in Path("a.xml").read_text()
    assert "the run has not ended: it was killed" in Path("a.xml").read_text()


def test_a_refusal_is_an_annotation_and_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("deploy", "other", "--format", "github", "--format", "junit=a.xml")
    assert done.exit_code == 2
    assert done.stdout.startswith("::error file=net.py,line=3,title=attn2trt other::other branches on its input")
    assert done.stderr.splitlines()[-1].startswith("error: other branches on its input")
    assert 'errors="1"' in Path("a.xml").read_text()


def test_a_requirement_that_is_missing_is_in_them_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(names: tuple[str, ...]) -> None:
        raise MissingRequirement(f"received --require {names[0]}; it is missing; run attn2trt doctor")

    for command in ("deploy", "validate"):
        monkeypatch.setattr(f"attn2trt.cli.{command}.check", missing)
        done = run(command, "good", "--require", "tensorrt", "--format", "github")
        assert done.exit_code == 3
        assert (
            done.stdout
            == "::error title=attn2trt good::received --require tensorrt; it is missing; run attn2trt doctor\n"
        )


def test_an_error_of_the_system_is_in_them_as_it_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr("attn2trt.workflows.validate.validate_bundle", full)
    done = run("validate", "good", "--format", "github")
    assert done.exit_code == 4
    assert "::reading or writing failed at x: No space left on device; free space" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["good", "--format", "html"], "received --format html; expected github, junit, sarif, markdown"),
        (["good", "--format", "sarif="], "received --format sarif=; expected github"),
        (
            ["good", "--format", "sarif", "--format", "junit"],
            "received --format sarif and --format junit",
        ),
        (["good", "--format", "sarif", "--json"], "received --format sarif and --json; expected one of them on stdout"),
        (["good", "--format", "sarif=net.py"], "a file that this command did not write"),
        (["good", "--format", "sarif=no/a.sarif"], "in a folder that does not exist"),
        (["good", "bad", "--format", "github"], "received --format with 2 targets; expected one target with it"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr("attn2trt.workflows.deploy.deploy", never)
    done = run("deploy", *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert Path("net.py").read_text() == "\n" * 20
