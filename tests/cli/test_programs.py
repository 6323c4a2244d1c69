"""``attn2trt programs`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import served_bundle
from cli_run import refused, run


def test_the_command_prints_how_to_build_and_to_run(tmp_path: Path) -> None:
    bundle, out = served_bundle.write(tmp_path / "b").path, tmp_path / "cpp"
    result = run("programs", bundle, "-o", out)
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"note: no verdict passed {bundle}: what the programs run")
    assert f"build    cmake -S {out} -B {out}/build && cmake --build {out}/build" in result.stdout
    assert f"run      {out}/build/infer_ort {bundle} model.onnx" in result.stdout
    assert "is not empty" in refused(run("programs", bundle, "-o", out))
    below = refused(run("programs", bundle, "-o", bundle / "bundle.json" / "cpp"))
    assert "lies below a file; give a folder that does not exist yet with -o" in below


def test_json(tmp_path: Path) -> None:
    bundle = served_bundle.write(tmp_path / "b").path
    result = run("programs", bundle, "-o", tmp_path / "cpp", "--json")
    written = json.loads(result.stdout)
    assert (written["files"][1], written["passed"]) == ("infer_ort.cpp", False)
