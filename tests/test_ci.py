"""The checks of a commit, of the hosted CI and of ``.ci/run`` are the same, and each is a command that is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TRITON = "docs/howto/triton.md"
RUN = (ROOT / ".ci" / "run").read_text()


def hooks() -> list[dict[str, Any]]:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    found: list[dict[str, Any]] = repo["hooks"]
    return found


def workflow() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    return found


def which(entry: str) -> str | None:
    """The program of a hook, beside this Python or on the path."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which(entry.split(maxsplit=1)[0], path=places)


def test_every_hook_is_a_command_that_is_there() -> None:
    assert [hook["id"] for hook in hooks() if hook["language"] != "system" or which(hook["entry"]) is None] == []
    assert which("no-such-command --flag") is None


def test_the_server_of_triton_that_is_tested_is_the_one_that_its_page_installs() -> None:
    asked = [set(re.findall(r"nvidia-pytriton\S*", (ROOT / path).read_text())) for path in (".ci/slow", TRITON)]
    (wheel,) = (name for name in asked[0] if "==" in name)
    assert wheel in asked[1]
    assert (
        f"The wheel `nvidia-pytriton` {wheel.partition('==')[2]} holds Triton's `tritonserver` "
        in (ROOT / TRITON).read_text()
    )


def test_the_hooks_are_the_checks_of_ci() -> None:
    in_ci = re.findall(r"^\.venv/bin/(ruff \w+|mypy)", RUN, re.MULTILINE)
    assert [re.match(r"ruff \w+|mypy", hook["entry"])[0] for hook in hooks()] == in_ci  # type: ignore[index]
    assert in_ci == ["ruff check", "ruff format", "mypy"]


@pytest.mark.parametrize("name", ["ruff-check", "ruff-format"])
def test_a_hook_finds_what_is_wrong_and_nothing_else(name: str, tmp_path: Path) -> None:
    (hook,) = (hook for hook in hooks() if hook["id"] == name)
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("x = 1\n")
    bad.write_text("import os\nx  =  1\n")
    program, *words = hook["entry"].split()
    assert words[-1] == "--force-exclude"  # what pyproject.toml excludes is named to it all the same
    command = [
        str(which(program)),
        *words,
        *["--diff"] * (name == "ruff-format"),
        "--config",
        str(ROOT / "pyproject.toml"),
    ]
    codes = [subprocess.run([*command, str(file)], capture_output=True, check=False).returncode for file in (good, bad)]
    assert codes == [0, 1]


def test_the_hosted_workflow_runs_ci_with_each_python() -> None:
    (job,) = workflow()["jobs"].values()
    (step,) = (step for step in job["steps"] if "run" in step)
    assert step["run"] == ".ci/run"
    assert step["env"] == {"PYTHON": "python${{ matrix.python }}"}
    pythons = job["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" == PROJECT["project"]["requires-python"]
    # a list without a gap, of texts: 3.10 as a number is 3.1
    assert pythons == [f"3.{minor}" for minor in range(10, 10 + len(pythons))]
    setup = next(step for step in job["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["with"]["python-version"] == "${{ matrix.python }}"
    assert workflow()["permissions"] == {"contents": "read"}


def test_the_oldest_versions_are_those_that_the_project_allows() -> None:
    script = (ROOT / ".ci" / "oldest").read_text()
    (extras,) = re.findall(r'--resolution lowest-direct -e "\.\[(.*)\]"', script)
    assert {*re.findall(r'-e "\.\[(.*)\]"', RUN)[0].split(",")} <= {*extras.split(",")}
    assert {*extras.split(",")} <= {*PROJECT["project"]["optional-dependencies"]}


@pytest.mark.parametrize("script", ["run", "slow", "oldest"])
@pytest.mark.parametrize("given", [True, False])
def test_the_python_of_ci_can_be_chosen(script: str, given: bool, tmp_path: Path) -> None:
    """A stand-in for Python notes how it was called, and fails: so does the script, before anything is installed."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / script, tmp_path / ".ci" / script)
    fake = tmp_path / ("python9.9" if given else "python3")
    fake.write_text('#!/bin/sh\necho "$0 $@" >> "$(dirname "$0")/called"\nexit 7\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **({"PYTHON": str(fake)} if given else {})}
    ran = subprocess.run([str(tmp_path / ".ci" / script)], env=environment, capture_output=True, check=False)
    assert ran.returncode == 1, ran.stderr
    assert (tmp_path / "called").read_text() == f"{fake} -m venv .venv\n"


def test_every_marker_is_used_and_every_used_one_is_declared() -> None:
    declared = {line.partition(":")[0] for line in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    builtin = {"parametrize", "skipif", "skip", "xfail", "usefixtures", "filterwarnings"}
    used = {
        name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"pytest\.mark\.(\w+)", path.read_text())
    }
    assert declared == used - builtin


def test_what_needs_tensorrt_is_skipped_with_the_fix_if_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import conftest

    from attn2trt.engines.environment import Component

    class Item:
        def __init__(self, *markers: str) -> None:
            self.markers = markers

        def get_closest_marker(self, name: str) -> object:
            return name if name in self.markers else None

    found = Component("TensorRT for RTX", "missing", "", "it builds plans without a GPU", "pip install it")
    monkeypatch.setattr("attn2trt.engines.environment.probe_rtx", lambda: found)
    conftest.pytest_runtest_setup(Item("slow"))  # type: ignore[arg-type]
    with pytest.raises(pytest.skip.Exception, match="is missing here: it builds plans without a GPU; pip install it"):
        conftest.pytest_runtest_setup(Item("tensorrt"))  # type: ignore[arg-type]
