"""The command on a pretended GPU, in the processes that it really starts: messages, clocks and layers arrive."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import served_bundle

from attn2trt.core.file_hashes import sha256

from .test_cost_plan import write

PRETENDED = Path(__file__).parents[1] / "engines/tensorrt/pretended"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables with which a process finds the pretended driver and TensorRT."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("the pretended driver needs Linux and gcc")
    folder = tmp_path / "pretended"
    about = folder / "tensorrt-8.6.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt\nVersion: 8.6.0\n")
    shutil.copy(PRETENDED / "tensorrt.py", folder)
    build = ["gcc", "-w", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(PRETENDED / "cuda.c")]
    subprocess.run(build, check=True)
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    found = {name: os.pathsep.join(filter(None, [str(folder), value])) for name, value in before.items()}
    return {**os.environ, **found}


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "attn2trt", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_a_plan_is_timed_in_processes_of_its_own(tmp_path: Path, environment: dict[str, str]) -> None:
    model, plain = write(tmp_path / "model", "resnet18+se"), write(tmp_path / "plain", "resnet18")
    words = f"cost {model} --runtime tensorrt --precision fp16 --backbone {plain} --seconds 0.05 --json"
    done = run(environment, *words.split())
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["gpu"] == "Pretended GPU"
    assert document["rates"]["launch_ms"] == pytest.approx(0.05)
    assert document["rates"]["bytes_per_s"] == pytest.approx(2 * 8 * (1 << 29) / 0.05e-3)
    copy, mul = document["model"]["layers"]
    assert (copy["ms"], mul["ms"]) == (pytest.approx(0.01), pytest.approx(0.03))
    assert copy["modules"] == mul["modules"] == ["layer2.0.se"]
    assert copy["bytes"] == mul["bytes"] == 2 * 4 * 2 * 3 * 4 * 4
    assert document["beside"]["difference"]["ms"] == 0
    assert document["blocks"][0]["ms"] == pytest.approx(0.04)


@pytest.mark.slow
def test_a_plan_that_tensorrt_refuses_ends_the_command(tmp_path: Path, environment: dict[str, str]) -> None:
    plan = served_bundle.plan("9.0", "fp16", tensorrt="8.6.0")
    bundle = served_bundle.write(tmp_path / "model", precisions=("fp32", "fp16"), plans=[plan]).path
    file, manifest = bundle / plan["file"], bundle / "bundle.json"
    content = json.loads(manifest.read_text())
    file.write_bytes(b"")
    content["files"][plan["file"]]["sha256"] = sha256(file)
    content.pop("sha256", None)
    manifest.write_text(json.dumps(content))
    words = f"cost {bundle} --runtime tensorrt --precision fp16"
    done = run(environment, *words.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert "TensorRT 8.6.0 cannot load the plan" in done.stderr
