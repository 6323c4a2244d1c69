"""The script of a bundle runs its plans too: here in a pretended TensorRT and CUDA driver, on host memory."""

from __future__ import annotations

import ctypes
import json
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import served_bundle
from manifest_edits import edit, list_as_it_is, replaced
from served_bundle import plan

from attn2trt.core.bundle import Bundle
from attn2trt.core.manifest import manifest_text
from attn2trt.export.deploy_files import SCRIPT, write_script


class Driver:
    """The functions of the CUDA driver that the script calls; the memory of the device is the host's."""

    def __init__(self, capability: tuple[int, int] = (8, 6)) -> None:
        self.capability = capability
        self.kept: list[Any] = []
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return lambda *_: 0

    def cuDeviceGetAttribute(self, found: Any, attribute: int, device: int) -> int:
        found._obj.value = self.capability[attribute - 75]
        return 0

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        self.kept.append(ctypes.create_string_buffer(size.value))
        address._obj.value = ctypes.addressof(self.kept[-1])
        return 0

    def cuMemcpyHtoD_v2(self, device: Any, host: Any, size: Any) -> int:
        ctypes.memmove(device.value, host.value, size.value)
        return 0

    def cuMemcpyDtoH_v2(self, host: Any, device: Any, size: Any) -> int:
        ctypes.memmove(host.value, device.value, size.value)
        return 0


class Execution:
    """``y = x * 2`` on the addresses that it is given."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.profiles: list[int] = []

    def set_optimization_profile_async(self, profile: int, stream: Any) -> bool:
        self.profiles.append(profile)
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes["x"]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: Any) -> bool:
        size = int(np.prod(self.shapes["x"]))
        x, y = ((ctypes.c_float * size).from_address(self.addresses[name]) for name in ("x", "y"))
        np.frombuffer(y, np.float32)[...] = np.frombuffer(x, np.float32) * 2
        return True


def tensorrt(version: str, loaded: list[bytes], execution: Execution) -> ModuleType:
    module = ModuleType("tensorrt")

    class Runtime:
        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            loaded.append(data)
            return SimpleNamespace(create_execution_context=lambda: execution, get_tensor_dtype=lambda name: "FLOAT")

    vars(module).update(
        __version__=version, Runtime=Runtime, Logger=SimpleNamespace, nptype=lambda kind: np.dtype(np.float32)
    )
    module.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, severity: None})  # type: ignore[attr-defined]
    return module


class Machine:
    """A machine with a GPU and a TensorRT; ``run`` runs a bundle's script there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capsys = monkeypatch, capsys
        self.loaded: list[bytes] = []
        self.execution = Execution()
        self.driver: Driver | None = Driver()
        self.version = "10.9.0.34"
        self.module = "tensorrt"

    def run(self, bundle: Bundle, *arguments: str) -> tuple[str, str]:
        write_script(bundle.path, bundle.name, bundle.inputs, bundle.axes, 17)
        real = ctypes.CDLL

        def library(name: str | None, *rest: Any, **options: Any) -> Any:
            if "cuda" not in str(name):
                return real(name, *rest, **options)
            if self.driver is None:
                raise OSError("no such file")
            return self.driver

        self._patch.setattr(ctypes, "CDLL", library)
        self._patch.setitem(sys.modules, self.module, tensorrt(self.version, self.loaded, self.execution))
        self._patch.setattr(sys, "argv", [SCRIPT, *arguments])
        self._capsys.readouterr()
        runpy.run_path(str(bundle.path / SCRIPT), run_name="__main__")
        said = self._capsys.readouterr()
        assert float(said.out.partition("PyTorch: ")[2].split()[0]) < 1e-6
        return said.out, said.err

    def said(self) -> str:
        return self._capsys.readouterr().out


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(monkeypatch, capsys)


def bundle_with(folder: Path, *plans: dict[str, Any]) -> Bundle:
    return served_bundle.write(folder / "b", plans=plans)


@pytest.mark.parametrize(
    ("graph", "own", "is_optimised"),
    [
        ("model.onnx", None, True),
        ("model.fp16.onnx", None, True),
        ("model.int8-fp16.onnx", None, False),
        ("model.onnx", "fp8", False),
        ("model.fp16.onnx", "fp8", True),
    ],
)
def test_what_onnx_runtime_gets_wrong_is_run_as_it_is_written(
    graph: str, own: str | None, is_optimised: bool, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {} if own is None else {"precision": own}
    bundle = served_bundle.write(tmp_path / "b", precisions=("fp32", "fp16", "int8-fp16"), **more)
    options: list[Any] = []
    real = onnxruntime.InferenceSession

    def session(path: Path, chosen: Any = None, **rest: Any) -> Any:
        options.append(chosen)
        return real(path, chosen, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    machine.run(bundle, graph)
    levels = onnxruntime.GraphOptimizationLevel
    assert options[0].graph_optimization_level == (levels.ORT_ENABLE_ALL if is_optimised else levels.ORT_DISABLE_ALL)


def test_the_first_plan_that_this_machine_runs_is_run(tmp_path: Path, machine: Machine) -> None:
    bundle = bundle_with(tmp_path, plan("9.0"), plan("8.6"))
    out, said = machine.run(bundle)
    assert out.startswith("y (2, 3, 4, 4) largest difference from PyTorch: ")
    assert machine.loaded == [b"plans/sm86-trt10.9.0-fp32.plan"]
    assert "not run  plans/sm90-trt10.9.0-fp32.plan: built with version 10.9.0 for another GPU" in said
    assert said.endswith("running  plans/sm86-trt10.9.0-fp32.plan\n")


def test_the_profile_is_the_one_that_holds_the_recorded_sizes(tmp_path: Path, machine: Machine) -> None:
    machine.run(bundle_with(tmp_path, plan(batches=((1, 1, 1), (2, 4, 8)))))
    assert machine.execution.profiles == [1]


def test_a_plan_of_tensorrt_for_rtx_is_run_by_it(tmp_path: Path, machine: Machine) -> None:
    machine.module, machine.version = "tensorrt_rtx", "1.7.1.116"
    machine.run(bundle_with(tmp_path, plan(flavour="tensorrt-rtx", tensorrt="1.7.1")))
    assert machine.loaded == [b"plans/sm86-rtx1.7.1-fp32.plan"]


@pytest.mark.parametrize(
    ("flags", "runs"), [({}, False), ({"version_compatible": True, "hardware_compatible": True}, True)]
)
def test_a_portable_plan_runs_on_another_gpu_and_version(
    tmp_path: Path, machine: Machine, flags: dict[str, bool], runs: bool
) -> None:
    machine.version = "11.1.0"
    machine.run(bundle_with(tmp_path, plan("8.0", **flags)))
    assert bool(machine.loaded) is runs


def test_without_a_driver_the_graph_is_run_and_tensorrt_is_not_touched(tmp_path: Path, machine: Machine) -> None:
    machine.driver = None
    _, said = machine.run(bundle_with(tmp_path, plan()))
    assert machine.loaded == []
    assert "plan: there is no NVIDIA driver\nrunning  model.onnx\n" in said


def test_sizes_outside_of_every_profile(tmp_path: Path, machine: Machine) -> None:
    _, said = machine.run(bundle_with(tmp_path, plan(batches=((4, 4, 8),))))
    assert machine.loaded == []
    assert "the recorded sizes lie outside of its profiles" in said


def test_a_named_graph_is_run_though_a_plan_could_be(tmp_path: Path, machine: Machine) -> None:
    _, said = machine.run(bundle_with(tmp_path, plan()), "model.onnx")
    assert (machine.loaded, said) == ([], "running  model.onnx\n")


def test_a_named_plan_that_does_not_run_here_is_an_error(tmp_path: Path, machine: Machine) -> None:
    bundle = bundle_with(tmp_path, plan("9.0"))
    with pytest.raises(SystemExit, match="does not run here: built with version"):
        machine.run(bundle, "plans/sm90-trt10.9.0-fp32.plan")


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 3, 4, 4), "largest difference from PyTorch: nan"),
        ((1, 3, 4, 4), "has another shape than from PyTorch: (2, 3, 4, 4)"),
    ],
)
def test_what_is_no_number_or_of_another_shape_ends_with_1(
    tmp_path: Path, machine: Machine, shape: tuple[int, ...], said: str
) -> None:
    class Wrong(Execution):
        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return shape

        def execute_async_v3(self, stream: Any) -> bool:
            y = (ctypes.c_float * int(np.prod(shape))).from_address(self.addresses["y"])
            np.frombuffer(y, np.float32)[...] = np.nan
            return True

    machine.execution = Wrong()
    with pytest.raises(SystemExit) as ended:
        machine.run(bundle_with(tmp_path, plan()))
    assert ended.value.code == 1
    assert said in machine.said()


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx"])
def test_what_the_verdict_does_not_pass_ends_with_1(name: str, tmp_path: Path, machine: Machine) -> None:
    bundle = served_bundle.write(tmp_path / "b", precisions=("fp32", "fp16"), factor=2.01)
    with pytest.raises(SystemExit) as ended:
        machine.run(bundle, name)
    assert ended.value.code == 1
    assert re.search(r"largest difference from PyTorch: 0\.0\d+ \(limit \d\S+\)\n$", machine.said())


def test_an_output_without_a_limit_is_not_judged(tmp_path: Path, machine: Machine) -> None:
    bundle = served_bundle.write(tmp_path / "b")
    edit(bundle.path, lambda manifest: manifest["cases"][0]["outputs"][0].pop("most"))
    assert machine.run(bundle)[0].endswith(" (not judged here: attn2trt validate is the verdict)\n")


def test_what_does_not_run_is_one_line(tmp_path: Path, machine: Machine) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError("no\nkernel")

    machine.execution = type("Broken", (Execution,), {"execute_async_v3": broken})()
    bundle = bundle_with(tmp_path, plan())
    with pytest.raises(SystemExit, match=r"^plans/\S+ does not run here: no kernel$"):
        machine.run(bundle)
    (bundle.path / "bundle.json").write_text("{}")
    with pytest.raises(SystemExit, match="is no bundle with a recorded case"):
        machine.run(bundle)


@pytest.mark.parametrize("text", ["{}", "[]", "[" * 100_000, '{"sha256": "0", "cases": [{}]}', "\x00"])
def test_what_is_no_manifest_is_one_line(text: str, tmp_path: Path, machine: Machine) -> None:
    bundle = served_bundle.write(tmp_path / "b")
    (bundle.path / "bundle.json").write_text(text)
    with pytest.raises(SystemExit, match=r"(is no bundle with a recorded case: .|was changed since it was written)"):
        machine.run(bundle)


def test_a_manifest_that_was_edited_judges_nothing(tmp_path: Path, machine: Machine) -> None:
    """A limit in it is what an output is held to."""
    bundle = served_bundle.write(tmp_path / "b", factor=2.01)
    file = bundle.path / "bundle.json"
    file.write_text(re.sub(r'"most": "[^"]*"', '"most": "inf"', file.read_text()))
    with pytest.raises(SystemExit, match=r"b/bundle.json was changed since it was written: nothing is loaded"):
        machine.run(bundle)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("plans",), "text"),
        (("plans",), None),
        (("plans", 0), {}),
        (("plans", 0, "profiles"), 1),
        (("precisions",), [1]),
        (("cases", 0, "outputs", 0, "most"), "all"),
        (("cases", 0, "outputs", 0, "most"), 10**400),
    ],
)
def test_an_entry_that_no_command_writes_is_one_line(
    path: tuple[str | int, ...], value: Any, tmp_path: Path, machine: Machine
) -> None:
    bundle = bundle_with(tmp_path, plan())
    text = manifest_text(replaced(json.loads((bundle.path / "bundle.json").read_text()), path, value))
    (bundle.path / "bundle.json").write_text(text)
    with pytest.raises(SystemExit, match=r"^\S+bundle.json has an entry that is none: \w+: .*$"):
        machine.run(bundle)


def test_a_limit_that_is_no_number_passes_nothing(tmp_path: Path, machine: Machine) -> None:
    bundle = served_bundle.write(tmp_path / "b")
    edit(bundle.path, lambda manifest: manifest["cases"][0]["outputs"][0].update(most="nan"))
    with pytest.raises(SystemExit) as ended:
        machine.run(bundle)
    assert ended.value.code == 1


def test_a_case_without_outputs_is_one_line(tmp_path: Path, machine: Machine) -> None:
    bundle = served_bundle.write(tmp_path / "b")
    edit(bundle.path, lambda manifest: manifest["cases"][0].update(outputs=[]))
    with pytest.raises(SystemExit, match=r"^reference.safetensors does not hold the case .*: it has no output$"):
        machine.run(bundle)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"reference"])
def test_cases_that_are_none_are_one_line(content: bytes, tmp_path: Path, machine: Machine) -> None:
    bundle = served_bundle.write(tmp_path / "b")
    (bundle.path / "reference.safetensors").write_bytes(content)
    list_as_it_is(bundle.path, "reference.safetensors")
    with pytest.raises(SystemExit, match=r"^reference.safetensors (does not hold the case|is not the file) of the man"):
        machine.run(bundle)


def test_a_plan_that_is_not_the_manifests_is_never_loaded(tmp_path: Path, machine: Machine) -> None:
    bundle = bundle_with(tmp_path, plan())
    (bundle.path / "plans/sm86-trt10.9.0-fp32.plan").write_bytes(b"evil")
    with pytest.raises(SystemExit, match="is not the file of the manifest: it is not loaded"):
        machine.run(bundle)
    assert machine.loaded == []
