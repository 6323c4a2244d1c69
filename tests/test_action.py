"""The action of this repository: each of its steps runs in a clean folder as GitHub would run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
EXAMPLE = ROOT / "examples" / "ci"
WORKFLOW = yaml.safe_load((EXAMPLE / ".github/workflows/verdict.yml").read_text())


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with every expression replaced by its value; an unknown one fails."""
    return re.sub(r"\$\{\{\s*([\w.-]+)\s*\}\}", lambda match: values[match[1]], text)


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ACTION["runs"]["steps"]
    return found


def test_no_input_is_pasted_into_a_script() -> None:
    assert [step["name"] for step in steps()] == ["Install attn2trt", "Deploy and judge"]
    assert all("${{" not in step["run"] for step in steps())
    assert all(step["shell"] == "bash" for step in steps())


def test_outputs_and_inputs_are_those_that_steps_write_and_read() -> None:
    text = (ROOT / "action.yml").read_text()
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == ACTION["inputs"].keys()
    written = set(re.findall(r'echo "(\w+)=', steps()[1]["run"]))
    assert written == ACTION["outputs"].keys()
    assert {entry["value"] for entry in ACTION["outputs"].values()} == {
        f"${{{{ steps.deploy.outputs.{name} }}}}" for name in written
    }


def test_the_sample_project_uses_it() -> None:
    (job,) = WORKFLOW["jobs"].values()
    step = next(step for step in job["steps"] if step.get("id") == "verdict")
    assert step["with"].keys() <= ACTION["inputs"].keys()
    assert (EXAMPLE / step["with"]["target"]).is_file()
    used = set(re.findall(r"steps\.verdict\.outputs\.(\w+)", str(WORKFLOW)))
    assert used <= ACTION["outputs"].keys()


def deploy_step(folder: Path) -> tuple[list[str], dict[str, str]]:
    """What the step gives Python, and its outputs, on a runner that keeps this folder."""
    python, output = folder / "python", folder / "output"
    python.write_text("#!/bin/sh\nprintf '%s|' \"$@\"\n")
    python.chmod(0o755)
    output.unlink(missing_ok=True)
    own = {
        "TARGET": "my net.py",
        "ARGUMENTS": "--shape 2x3x8x8\n--precision fp32,fp16\n",
        "GITHUB_OUTPUT": str(output),
        "RUNNER_TEMP": str(folder),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
    }
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps()[1]["run"]]
    ran = subprocess.run(shell, env={**os.environ, **own}, cwd=folder, capture_output=True, text=True, check=True)
    return ran.stdout.split("|"), dict(line.split("=", 1) for line in output.read_text().splitlines())


def test_arguments_on_several_lines_are_all_given(tmp_path: Path) -> None:
    given, _ = deploy_step(tmp_path)
    assert given[:8] == ["-m", "attn2trt", "deploy", "my net.py", "--shape", "2x3x8x8", "--precision", "fp32,fp16"]


def test_no_output_is_that_of_an_earlier_run(tmp_path: Path) -> None:
    (first, before), (_, after) = deploy_step(tmp_path), deploy_step(tmp_path)
    assert {before["bundle"], f"sarif={before['sarif']}", f"junit={before['junit']}"} <= {*first}
    assert set(before.values()).isdisjoint(after.values())
    assert not [path for path in after.values() if Path(path).exists()]


def in_new_environment(folder: Path) -> dict[str, str]:
    """The environment of a Python that has the packages of this one, and attn2trt not yet."""
    venv.create(folder, with_pip=True, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(packages) + "\n")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
def test_every_step_runs_and_the_broken_module_is_named_on_its_line(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(EXAMPLE, workspace)
    source = tmp_path / "action"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    (job,) = WORKFLOW["jobs"].values()
    given = next(step for step in job["steps"] if step.get("id") == "verdict")["with"]
    defaults = {name: str(entry.get("default", "")) for name, entry in ACTION["inputs"].items()}
    values = {f"inputs.{name}": str(value) for name, value in {**defaults, **given}.items()}
    values["github.action_path"] = str(source)
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    environment = {**in_new_environment(tmp_path / "venv"), **files, "GITHUB_WORKSPACE": str(workspace)}
    done = []
    for step in steps():
        own = {name: filled(value, values) for name, value in step["env"].items()}
        folder = workspace / filled(step.get("working-directory", "."), values)
        # as GitHub runs `shell: bash`
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        ran = subprocess.run(shell, cwd=folder, env={**environment, **own}, capture_output=True, text=True, check=False)
        done.append(ran)
    install, deploy = done
    assert install.returncode == 0, install.stderr
    assert deploy.returncode == 1, deploy.stderr
    annotations = re.findall(r"^::error file=([^,]+),line=(\d+),title=([^:]*)::", deploy.stdout, re.MULTILINE)
    assert {(file, title) for file, _, title in annotations} == {
        ("net.py", "attn2trt net.py%2C fp16"),
        ("net.py", "attn2trt net.py%2C fp16 onnxruntime cpu"),
    }
    lines = (workspace / "net.py").read_text().splitlines()
    inside = lines.index("class Attention(nn.Module):")
    for _, line, _ in annotations:
        assert lines[int(line) - 1] == "    def forward(self, x: torch.Tensor) -> torch.Tensor:"
        assert inside < int(line) - 1 < lines.index("class Net(nn.Module):")
    outputs = dict(line.split("=", 1) for line in Path(files["GITHUB_OUTPUT"]).read_text().splitlines())
    assert (Path(outputs["bundle"]) / "report.html").is_file()
    assert Path(outputs["sarif"]).is_file()
    assert Path(outputs["junit"]).is_file()
    assert "see `net.py`, line" in Path(files["GITHUB_STEP_SUMMARY"]).read_text()
