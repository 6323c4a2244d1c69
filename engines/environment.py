"""The abilities of this machine, found out without starting anything that could take the process down with it.

Without a device TensorRT's Runtime ends the process, so the driver is asked first. Versions come from the installed
packages' metadata: nothing heavy is imported for them.
"""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from ..core import bounds
from ..core.worker import Worker
from ..errors import Interrupted, MissingRequirement, one_line, typed_line
from ..modules.libraries.index import LIBRARIES
from ..modules.packages import EXPORT, INSTALL_EXPORT
from .tensorrt.device import LIBRARY, NO_DEVICE
from .tensorrt.flavours import FLAVOURS, RTX, TENSORRT
from .tensorrt.targets import name_targets

Status = Literal["usable", "unusable", "missing"]
# (oldest and newest Python, why) that a package of ours has wheels for; None without a limit.
PYTHON_LIMITS = {"onnxruntime": ((3, 11), "ONNX Runtime from 1.27 needs Python 3.11 or newer")}
PROVIDER_SECONDS = 120
BASE = {"NumPy": "numpy", "ONNX": "onnx", "ONNX IR": "onnx-ir"}
ONNX_RUNTIME = ("onnxruntime-gpu", "onnxruntime")
X86_64 = ("x86_64", "amd64")
# NVIDIA's wheels of the libraries whose version is CUDA's, by how the library's name begins.
NVIDIA_WHEELS = {"cublas": "nvidia-cublas", "cudart": "nvidia-cuda-runtime", "nvrtc": "nvidia-cuda-nvrtc"}


@dataclass(frozen=True)
class Component:
    """One thing that a command may need. ``fix`` is the exact command or step, empty if it is usable."""

    name: str
    status: Status
    version: str = ""
    detail: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Environment:
    """Everything that was looked for, in the order in which it is printed."""

    components: tuple[Component, ...]

    def find(self, name: str) -> Component | None:
        """The component of that name, or of the flavour of TensorRT of that name, whatever the case."""
        wanted = FLAVOURS[name].title if name in FLAVOURS else name
        return next((part for part in self.components if part.name.lower() == wanted.lower()), None)


@dataclass(frozen=True)
class Driver:
    """The CUDA driver's answer; ``devices`` are names with compute capability, and ``problem`` says why none."""

    version: str
    devices: tuple[str, ...]
    problem: str = ""

    @property
    def capability(self) -> str:
        """The compute capability of the first device, as ``9.0``; empty without one."""
        found = re.search(r"compute capability (\d+\.\d+)", self.devices[0]) if self.devices else None
        return found[1] if found else ""


def probe() -> Environment:
    """Look at everything. It takes a second or two if a GPU's providers are tried, well under one otherwise."""
    driver = ask_driver()
    return Environment(
        (
            _python(),
            *_export_packages(),
            *_libraries(),
            *_onnx_runtime(driver),
            _cuda(driver),
            _tensorrt(driver),
            probe_rtx(load=True),
        )
    )


def probe_tensorrt() -> Component:
    """Look at TensorRT alone."""
    return _tensorrt(ask_driver())


def probe_rtx(*, load: bool = False) -> Component:
    """Look at TensorRT for RTX: whether it can build plans, which takes no GPU.

    With ``load`` it is imported too, in a process of its own; without, what is installed is believed.
    """
    found = installed_version(*RTX.distributions)
    if not found:
        if platform.machine().lower() not in X86_64 or sys.platform not in ("linux", "win32"):
            where = f"it has no wheel for {sys.platform} on {platform.machine()}"
            return Component(RTX.title, "missing", "", where, "build on Linux or Windows on x86-64")
        return Component(RTX.title, "missing", "", "it builds plans without a GPU", RTX.install)
    try:
        RTX.parse_version(found)
    except MissingRequirement as error:
        return Component(RTX.title, "unusable", found, str(error), RTX.install)
    if load and (problem := _try("import", RTX.module)):
        return Component(RTX.title, "unusable", found, problem, f"pip install --force-reinstall {RTX.distributions[0]}")
    return Component(RTX.title, "usable", found, f"builds plans for {name_targets(RTX.targets)} without a GPU")


def installed_version(*packages: str) -> str:
    """Return the version of the first of the packages that is installed, "" if none is. Imports nothing."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def ask_driver() -> Driver:
    """Initialise the CUDA driver and count its devices, through its own C interface."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError:
        return Driver("", (), f"no NVIDIA driver ({LIBRARY} is not there)")
    code = cuda.cuInit(0)
    if code:
        return Driver("", (), f"the NVIDIA driver does not start (cuInit error {code})")
    number, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    cuda.cuDeviceGetCount(ctypes.byref(count))
    said = f"CUDA {number.value // 1000}.{number.value % 1000 // 10}"
    devices = tuple(_device(cuda, index) for index in range(count.value))
    return Driver(said, devices, "" if devices else "the NVIDIA driver finds no device")


def _device(cuda: ctypes.CDLL, index: int) -> str:
    handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    cuda.cuDeviceGet(ctypes.byref(handle), index)
    cuda.cuDeviceGetName(name, len(name), handle)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, handle)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, handle)
    return f"{name.value.decode(errors='replace')} (compute capability {major.value}.{minor.value})"


def _python() -> Component:
    said = ".".join(map(str, sys.version_info[:3]))
    oldest, why = PYTHON_LIMITS["onnxruntime"]
    # Older Pythons work with an older ONNX Runtime: worth saying, nothing to fix.
    return Component("Python", "usable", said, why if sys.version_info[:2] < oldest else sys.platform)


def _export_packages() -> Iterator[Component]:
    for name, package in EXPORT.items():
        yield _package(name, package, "needed to export, not to validate a bundle", INSTALL_EXPORT)
    for name, package in BASE.items():
        yield _package(name, package, "", f"pip install {package}")


def _libraries() -> Iterator[Component]:
    for name, library in LIBRARIES.items():
        licence = f"; {library.licence}, as is what you deploy of it" if library.licence else ""
        yield _package(name, library.package, f"only for targets {name}:NAME{licence}", library.install)


def _package(name: str, package: str, detail: str, install: str) -> Component:
    """Look at one package by its version alone: missing, outside of our bounds, or usable."""
    found = installed_version(package)
    if not found:
        return Component(name, "missing", "", detail, install)
    if outside := bounds.outside((package,)):
        return Component(name, "unusable", found, _expected(outside), bounds.install(outside))
    return Component(name, "usable", found, detail)


def _expected(outside: tuple[bounds.Outside, ...]) -> str:
    return f"expected {', '.join(one.wanted for one in outside)}"


def _onnx_runtime(driver: Driver) -> Iterator[Component]:
    found = installed_version(*ONNX_RUNTIME)
    if not found:
        yield Component("ONNX Runtime", "missing", "", "", "pip install onnxruntime")
        return
    if outside := bounds.outside(ONNX_RUNTIME):
        yield Component("ONNX Runtime", "unusable", found, _expected(outside), bounds.install(outside))
        return
    try:
        import onnxruntime as ort

        listed = ort.get_available_providers()
    except Exception as error:  # a broken install raises whatever its loader raises
        detail = typed_line(error)
        yield Component("ONNX Runtime", "unusable", found, detail, "pip install --force-reinstall onnxruntime")
        return
    yield _provider("ONNX Runtime CPU", found, "CPUExecutionProvider", listed)
    for name, provider in (("CUDA", "CUDAExecutionProvider"), ("TensorRT", "TensorrtExecutionProvider")):
        yield _gpu_provider(f"ONNX Runtime {name}", found, provider, listed, driver)


def _gpu_provider(name: str, found: str, provider: str, listed: list[str], driver: Driver) -> Component:
    if provider not in listed:
        detail = "this build of ONNX Runtime does not have it"
        return Component(name, "missing", found, detail, "pip uninstall -y onnxruntime; pip install onnxruntime-gpu")
    if not driver.devices:
        return Component(name, "unusable", found, driver.problem, NO_DEVICE)
    return _provider(name, found, provider, listed)


def _provider(name: str, found: str, provider: str, listed: list[str]) -> Component:
    """Run a one-node model with the provider in a child process: that it is listed says nothing, and it may crash."""
    if provider not in listed:
        return Component(name, "missing", found, "", "pip install --force-reinstall onnxruntime")
    fixes = {
        "CUDAExecutionProvider": "pip install 'onnxruntime-gpu[cuda,cudnn]'",
        "TensorrtExecutionProvider": "install the TensorRT 10 libraries on the loader's path (LD_LIBRARY_PATH)",
    }
    problem = try_provider(provider)
    if problem:
        return Component(
            name, "unusable", found, problem, fixes.get(provider, "pip install --force-reinstall onnxruntime")
        )
    return Component(name, "usable", found)


def try_provider(provider: str) -> str:
    """Return why the provider cannot run a model here, "" if it can."""
    return _try("provider", provider)


def _try(*what: str) -> str:
    """Return why a process of its own cannot do it, "" if it says that it can."""
    try:
        with Worker("engines.environment_child", *what, who=" ".join(what), seconds=PROVIDER_SECONDS) as worker:
            try:
                worker.answer("loading")
            except Interrupted:
                return (_reason(worker.output) if (worker.exit_code or 0) > 0 else "") or f"the process {worker.how}"
    except OSError as error:
        return one_line(error)
    return ""


def _reason(stderr: str) -> str:
    """Return the library that the loader lacks, if that is the reason, else Python's last line."""
    absent = re.search(r"(\S+): cannot open shared object file", stderr)
    if absent:
        return f"{absent[1]} cannot be loaded"
    if "CPU EP" in stderr:
        return "ONNX Runtime falls back to the CPU: the provider's libraries do not load"
    lines = stderr.strip().splitlines()
    return lines[-1][:200] if lines else ""


def _cuda(driver: Driver) -> Component:
    if driver.devices:
        return Component("CUDA", "usable", driver.version, "; ".join(driver.devices))
    status: Status = "unusable" if driver.version or "does not start" in driver.problem else "missing"
    return Component("CUDA", status, driver.version, driver.problem, NO_DEVICE)


def _tensorrt(driver: Driver) -> Component:
    found = installed_version(*TENSORRT.distributions)
    if not found:
        from importlib.util import find_spec

        # A system package (a Jetson's) has no metadata in this environment.
        if find_spec("tensorrt") is None:
            return Component("TensorRT", "missing", "", "needed to compile plans", "pip install tensorrt")
    if not driver.devices:
        return Component("TensorRT", "unusable", found, driver.problem, NO_DEVICE)
    try:
        import tensorrt
    except Exception as error:
        detail = typed_line(error)
        fix = fix_for_library(detail) or "pip install --force-reinstall tensorrt"
        return Component("TensorRT", "unusable", found, detail, fix)
    return Component("TensorRT", "usable", found or str(tensorrt.__version__), f"in {Path(tensorrt.__file__).parent}")


def fix_for_library(message: str) -> str:
    """Return the command that brings the library which a loader's message names as absent; "" for any other library."""
    absent = re.search(r"lib(\w+)\.so\.(\d+)", message)
    if absent is None:
        return ""
    library, version = absent[1], int(absent[2])
    for begins, package in NVIDIA_WHEELS.items():
        if library.startswith(begins):
            # from CUDA 13 on the names have no version in them
            return f"pip install {package}-cu{version}" if version < 13 else f"pip install {package}"
    if library.startswith("cudnn"):
        return f"pip install 'nvidia-cudnn-cu12=={version}.*'"
    if library.startswith(("nvinfer", "nvonnxparser")):
        return f"pip install 'tensorrt=={version}.*'"
    return ""
