"""The compiler and the headers of a plugin: found, or named in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pretended_nvcc import write_headers, write_nvcc

from attn2trt.engines.tensorrt.plugin import toolkit
from attn2trt.engines.tensorrt.plugin.build import choose_targets
from attn2trt.engines.tensorrt.plugin.toolkit import find_headers, find_toolkit
from attn2trt.errors import InputError, MissingRequirement


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any compiler or headers but g++."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    gcc = toolkit.shutil.which
    monkeypatch.setattr(toolkit.shutil, "which", lambda name: None if name == "nvcc" else gcc(name))
    monkeypatch.setattr(toolkit, "USUAL_TOOLKIT", tmp_path / "no-cuda")
    monkeypatch.setattr(toolkit, "USUAL_HEADERS", (str(tmp_path / "no-headers"),))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])


def complete(root: Path) -> None:
    """Put beside a wheel's nvcc what other wheels have."""
    for files in toolkit.WHEELS.values():
        (root / files[-1]).parent.mkdir(parents=True, exist_ok=True)
        (root / files[-1]).write_text("")


def test_a_folder_that_is_named(tmp_path: Path) -> None:
    found = find_toolkit(write_nvcc(tmp_path / "cuda"))
    assert (found.version, found.capabilities, found.options) == ((13, 0, 0), ("7.5", "8.0", "9.0", "12.0"), ())
    with pytest.raises(InputError, match=r"received --cuda .*none; expected a folder with bin/nvcc; pip install"):
        find_toolkit(tmp_path / "none")


@pytest.mark.usefixtures("nothing")
def test_the_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        MissingRequirement, match="needs NVIDIA's nvcc, which is not here; pip install nvidia-cuda-nvcc"
    ):
        find_toolkit()
    monkeypatch.setattr(toolkit, "USUAL_TOOLKIT", write_nvcc(tmp_path / "usual"))
    assert find_toolkit().nvcc == tmp_path / "usual/bin/nvcc"
    wheel = write_nvcc(tmp_path / "site/nvidia/cu13")
    with pytest.raises(
        MissingRequirement, match="pip install nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl"
    ):
        find_toolkit()
    complete(wheel)
    found = find_toolkit()
    assert found.nvcc == wheel / "bin/nvcc"
    assert found.options == ("-I", f"{wheel}/include", "-I", f"{wheel}/include/cccl", "-L", f"{wheel}/lib")
    monkeypatch.setenv("CUDA_HOME", str(write_nvcc(tmp_path / "home")))
    assert find_toolkit().nvcc == tmp_path / "home/bin/nvcc"


def test_a_compiler_that_does_not_work(tmp_path: Path) -> None:
    silent = write_nvcc(tmp_path / "silent", release="unknown")
    with pytest.raises(MissingRequirement, match="does not tell its version and GPUs"):
        find_toolkit(silent)
    (silent / "bin/nvcc").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(MissingRequirement, match=r"cannot be run \(.*exit status 3"):
        find_toolkit(silent)


@pytest.mark.usefixtures("nothing")
def test_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingRequirement, match=r"needs TensorRT's headers, which are not here; .*--trt-include"):
        find_headers()
    monkeypatch.setattr(toolkit, "USUAL_HEADERS", (str(tmp_path), str(write_headers(tmp_path / "usual"))))
    assert find_headers().version == (10, 13, 3)
    assert find_headers(write_headers(tmp_path / "given", "8.6.1")).version == (8, 6, 1)
    with pytest.raises(InputError, match=r"received headers of TensorRT 8\.5\.3 .*; expected 8\.6\.0 or newer"):
        find_headers(write_headers(tmp_path / "old", "8.5.3"))
    for wrong in ("empty", "half", "strange"):
        folder = write_headers(tmp_path / wrong)
        if wrong == "strange":
            (folder / "NvInferVersion.h").write_text("#define NV_TENSORRT_MAJOR NV_TENSORRT_MAJOR\n")
        else:
            (folder / ("NvInferPlugin.h" if wrong == "half" else "NvInferVersion.h")).unlink()
        with pytest.raises(InputError, match=r"received --trt-include .*; expected a folder with NvInferPlugin\.h"):
            find_headers(folder)


def test_targets(tmp_path: Path) -> None:
    found = find_toolkit(write_nvcc(tmp_path / "cuda"))
    assert choose_targets((), found) == ("7.5", "8.0", "9.0", "12.0")
    assert choose_targets(("9.0",), found) == ("9.0",)
    with pytest.raises(
        InputError, match=r"received --for sm86; nvcc 13\.0 knows sm75, sm80, sm90, sm120; leave it out"
    ):
        choose_targets(("8.6",), found)
