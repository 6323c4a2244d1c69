"""``attn2trt programs`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import served_bundle
from click.testing import CliRunner

from attn2trt.cli.main import group


def test_the_command_prints_how_to_build_and_to_run(tmp_path: Path) -> None:
    bundle, out = served_bundle.write(tmp_path / "b").path, tmp_path / "cpp"
    result = CliRunner().invoke(group, ["programs", str(bundle), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert f"build    cmake -S {out} -B {out}/build && cmake --build {out}/build" in result.stdout
    assert f"run      {out}/build/infer_ort {bundle} model.onnx" in result.stdout
    again = CliRunner().invoke(group, ["programs", str(bundle), "-o", str(out)])
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
    assert "is not empty" in again.stderr
    below = CliRunner().invoke(group, ["programs", str(bundle), "-o", str(bundle / "bundle.json" / "cpp")])
    assert (below.exit_code, below.stderr.count("\n")) == (2, 1)
    assert "lies below a file; give a folder that does not exist yet with -o" in below.stderr


def test_json(tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "b").path
    result = CliRunner().invoke(group, ["programs", str(bundle), "-o", str(tmp_path / "cpp"), "--json"])
    assert json.loads(result.stdout)["files"][1] == "infer_ort.cpp"
