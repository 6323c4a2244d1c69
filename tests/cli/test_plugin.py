"""``attn2trt plugin`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from cli_run import refused, run
from pretended_nvcc import write_headers, write_nvcc


def test_the_command_says_that_nothing_has_run(tmp_path: Path) -> None:
    words = ["plugin", "--trt-include", str(write_headers(tmp_path / "include", "8.6.1"))]
    words += ["--cuda", str(write_nvcc(tmp_path / "cuda")), "--for", "sm90"]
    result = run(*words, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"plugin   {tmp_path}/out/libattn2trt_channel_gate.so" in result.stdout
    assert "for      TensorRT 8.6.1 (IPluginV2DynamicExt), sm90, by CUDA 13.0" in result.stdout
    assert "status   built, not run: no GPU has run this library" in result.stdout
    assert "passed" not in result.output
    refused(run(*words, "-o", tmp_path / "out"))
    other = run(*words, "-o", tmp_path / "other", "--json")
    assert json.loads(other.stdout)["interface"] == "IPluginV2DynamicExt"
