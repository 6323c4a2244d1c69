"""A package may be missing or fail to load: neither is usable, and each has a fix."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pretended_worker import pretend

from attn2trt.engines import environment
from attn2trt.engines.environment import Driver, ask_driver, installed_version, probe, try_provider

GPU = Driver("CUDA 13.0", ("Some GPU (compute capability 9.0)",))


def test_every_component_that_is_not_usable_has_a_fix() -> None:
    found = probe()
    assert {"Python", "PyTorch", "ONNX Runtime CPU", "CUDA", "TensorRT"} <= {part.name for part in found.components}
    assert all(part.fix for part in found.components if part.status != "usable")
    cpu = found.find("onnx runtime cpu")
    assert cpu is not None
    assert cpu.status == "usable"
    assert found.find("nothing") is None


def test_probing_imports_no_torch() -> None:
    code = "import sys; from attn2trt.engines.environment import probe; probe(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "LIBRARY", "libno_such_driver.so.1")
    found = ask_driver()
    assert not found.devices
    assert "no NVIDIA driver" in found.problem


def test_without_a_device_a_listed_provider_is_unusable_and_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "ask_driver", lambda: Driver("", (), "no NVIDIA driver"))
    monkeypatch.setattr(environment, "try_provider", _only_cpu)
    cuda = probe().find("ONNX Runtime CUDA")
    assert cuda is not None
    assert cuda.status in ("unusable", "missing")


def _only_cpu(provider: str) -> str:
    assert provider == "CPUExecutionProvider"
    return ""


def test_a_provider_that_falls_back_is_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "ask_driver", lambda: GPU)
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider", "CUDAExecutionProvider"]
    )
    monkeypatch.setattr(environment, "try_provider", lambda name: "falls back" if name.startswith("CUDA") else "")
    found = probe()
    cuda, tensorrt, driver = (found.find(name) for name in ("ONNX Runtime CUDA", "ONNX Runtime TensorRT", "CUDA"))
    assert cuda is not None
    assert (cuda.status, cuda.detail) == ("unusable", "falls back")
    assert "onnxruntime-gpu" in cuda.fix
    assert tensorrt is not None
    assert tensorrt.status == "missing"
    assert driver is not None
    assert (driver.status, driver.version) == ("usable", "CUDA 13.0")


def test_the_child_catches_what_it_must() -> None:
    assert try_provider("CPUExecutionProvider") == ""
    assert try_provider("NoSuchProvider") == "this ONNX Runtime has no NoSuchProvider"


def test_the_library_that_is_missing_is_named() -> None:
    said = "E: Failed to load with error: libcublasLt.so.13: cannot open shared object file: No such file\nFail: CPU EP"
    assert environment._reason(said) == "libcublasLt.so.13 cannot be loaded"
    assert "falls back to the CPU" in environment._reason(
        "Fail: This session contains graph nodes assigned to the CPU EP"
    )
    assert environment._reason("Traceback\nValueError: last") == "ValueError: last"


def test_a_child_that_dies_or_hangs_is_a_problem_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import os; os.abort()")
    assert try_provider("CPUExecutionProvider") == "the process was killed by SIGABRT"
    pretend(monkeypatch, "import sys; sys.exit('it computes wrongly')")
    assert try_provider("CPUExecutionProvider") == "it computes wrongly"
    pretend(monkeypatch, "")
    assert try_provider("CPUExecutionProvider") == "the process ended with exit code 0"
    monkeypatch.setattr(environment, "PROVIDER_SECONDS", 0.2)
    pretend(monkeypatch, "import time; time.sleep(30)")
    assert try_provider("CPUExecutionProvider") == "the process did not finish loading within 0.2 s"


def test_a_library_that_does_not_import_is_a_problem() -> None:
    assert environment._try("import", "json") == ""
    assert "No module named 'no_such_library'" in environment._try("import", "no_such_library")


def test_packages_that_are_not_there_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "installed_version", lambda *packages: "")
    found = probe()
    for name, fix in (("PyTorch", "pip install torch timm"), ("ONNX Runtime", "pip install onnxruntime")):
        part = found.find(name)
        assert part is not None
        assert part.status == "missing"
        assert fix in part.fix
    assert installed_version("no-such-package-at-all") == ""


def test_tensorrt_is_never_imported_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # importing it would now raise
    monkeypatch.setattr(environment, "installed_version", lambda *packages: "10.9")
    monkeypatch.setattr(environment, "ask_driver", lambda: Driver("", (), "no device"))
    part = probe().find("TensorRT")
    assert part is not None
    assert (part.status, part.detail) == ("unusable", "no device")
    monkeypatch.setattr(environment, "ask_driver", lambda: GPU)
    monkeypatch.setattr(environment, "try_provider", lambda name: "")
    part = probe().find("TensorRT")
    assert part is not None
    assert part.status == "unusable"
    assert "ImportError" in part.detail or "ModuleNotFoundError" in part.detail


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ("ImportError: libcublas.so.12: cannot open shared object file", "pip install nvidia-cublas-cu12"),
        ("ImportError: libcublasLt.so.13: cannot open shared object file", "pip install nvidia-cublas"),
        ("OSError: libcudart.so.11.0: cannot open shared object file", "pip install nvidia-cuda-runtime-cu11"),
        ("libcudnn.so.8: cannot open shared object file", "pip install 'nvidia-cudnn-cu12==8.*'"),
        ("libnvinfer_plugin.so.10: cannot open shared object file", "pip install 'tensorrt==10.*'"),
        ("libnvonnxparser.so.8: cannot open shared object file", "pip install 'tensorrt==8.*'"),
        ("libelse.so.1: cannot open shared object file", ""),
        ("ImportError: DLL load failed", ""),
    ],
)
def test_a_library_that_is_absent_has_its_command(message: str, fix: str) -> None:
    assert environment.fix_for_library(message) == fix
