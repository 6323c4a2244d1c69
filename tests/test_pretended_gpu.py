"""Everything that a user does with a plan, by real commands, on a pretended GPU with a pretended TensorRT.

It says nothing about a GPU, and everything about how the commands pass a plan on: from the compiler to the manifest,
the verdict, the page, the bundle's own script and the checks of a plan that must not be run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attn2trt import deploy
from attn2trt.engines.environment import ask_driver

HERE = Path(__file__).parent / "pretended_gpu"
Attn2trt = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(ask_driver().devices), reason="this machine has a GPU"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="the pretended driver is compiled by gcc"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process that finds the driver, and a TensorRT 8.6.0 that is installed."""
    place = tmp_path_factory.mktemp("machine")
    subprocess.run(["gcc", "-shared", "-fPIC", str(HERE / "cuda.c"), "-o", str(place / "libcuda.so.1")], check=True)
    about = place / "site/tensorrt-8.6.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt\nVersion: 8.6.0\n")
    path = os.pathsep.join(filter(None, (str(HERE), str(place / "site"), os.environ.get("PYTHONPATH"))))
    libraries = os.pathsep.join(filter(None, (str(place), os.environ.get("LD_LIBRARY_PATH"))))
    return {**os.environ, "PYTHONPATH": path, "LD_LIBRARY_PATH": libraries}


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Attn2trt:
    def command(*words: str | Path, program: str = "-m attn2trt") -> subprocess.CompletedProcess[str]:
        line = [sys.executable, *program.split(), *map(str, words)]
        return subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return command


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = deploy(
        "se", out=tmp_path_factory.mktemp("b") / "se", shapes=["2x16x8x8"], precision="fp32,fp16", capabilities="none"
    )
    return found.path


@pytest.fixture
def bundle(deployed: Path, tmp_path: Path, run: Attn2trt) -> Path:
    """A bundle with a plan."""
    shutil.copytree(deployed, tmp_path / "se")
    ran = run("compile", "se", "--precision", "fp16")
    assert ran.returncode == 0, ran.stderr
    return tmp_path / "se"


def stages(ran: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {stage["stage"]: stage["status"] for stage in json.loads(ran.stdout)["verdict"]["stages"]}


def test_a_plan_is_judged_and_stands_in_the_page(bundle: Path, run: Attn2trt) -> None:
    ran = run("validate", "se", "--require", "tensorrt", "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    found = stages(ran)
    for name in ("tensorrt fp16", "tensorrt fp16, rows", "tensorrt fp16, layers"):
        assert found[name] == "passed"
    assert "tensorrt fp16, layers" in (bundle / "report.html").read_text()
    assert run("verify", "se").returncode == 0
    assert run("report", "se", "-o", "page.html").returncode == 0


def test_the_bundles_own_script_runs_it(bundle: Path, run: Attn2trt) -> None:
    ran = run(program="se/infer.py")
    assert ran.returncode == 0, ran.stderr
    assert "running  plans/sm90-trt8.6.0-fp16.plan" in ran.stderr
    assert float(ran.stdout.split()[-1]) < 1e-2


def test_a_damaged_plan_is_run_by_nothing(bundle: Path, run: Attn2trt) -> None:
    (plan,) = (bundle / "plans").glob("*.plan")
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 1
    plan.write_bytes(content)
    for ran in (run("validate", "se"), run("verify", "se"), run(program="se/infer.py")):
        assert ran.returncode == 1, ran.stdout
        assert "Traceback" not in ran.stderr


def test_a_plan_is_checked_beside_any_model(bundle: Path, run: Attn2trt, deployed: Path) -> None:
    (plan,) = (bundle / "plans").glob("*.plan")
    words: tuple[Any, ...] = ("--plan", plan, "--precision", "fp16", "--trust", "--json")
    right = run("check", deployed, *words)
    assert (right.returncode, stages(right)["tensorrt fp16, layers"]) == (0, "passed"), right.stderr
    other = deploy("eca", out=bundle.parent / "eca", shapes=["2x16x8x8"], precision="fp32,fp16", capabilities="none")
    wrong = run("check", other.path, *words)
    assert (wrong.returncode, stages(wrong)["tensorrt fp16"]) == (1, "failed"), wrong.stderr
    half = bundle.parent / "half.plan"
    half.write_bytes(plan.read_bytes()[: plan.stat().st_size // 2])
    cut = run("check", deployed, "--plan", half, "--trust")
    assert (cut.returncode, cut.stderr.count("\n")) == (1, 1), cut.stderr
    assert "cannot load the plan: it does not say why" in cut.stderr
