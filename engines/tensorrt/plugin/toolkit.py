"""NVIDIA's nvcc and TensorRT's headers, which compile a plugin: found on this machine, or named as missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ....errors import InputError, MissingRequirement, one_line
from ..versions import OLDEST, Version, read_version

INSTALL = "pip install nvidia-cuda-nvcc nvidia-cuda-cccl"
# Files that nvcc reads and other wheels than its own have. The first that is there counts.
WHEELS = {
    "nvidia-nvvm": ("nvvm/bin/cicc",),
    "nvidia-cuda-runtime": ("lib/libcudart_static.a",),
    "nvidia-cuda-crt": ("include/crt/host_config.h",),
    "nvidia-cuda-cccl": ("include/nv/target", "include/cccl/nv/target"),
}
USUAL_TOOLKIT = Path("/usr/local/cuda")
VERSION_HEADER, PLUGIN_HEADER = "NvInferVersion.h", "NvInferPlugin.h"
USUAL_HEADERS = (
    *("/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu", "/usr/include", "/usr/local/include"),
    *("/usr/local/tensorrt/include", "/usr/src/tensorrt/include", "/opt/tensorrt/include"),
)
GET_HEADERS = (
    "install libnvinfer-headers-dev, or name with --trt-include the folder include of NVIDIA's open TensorRT "
    "repository at the tag of your version"
)
SECONDS = 60


@dataclass(frozen=True)
class Toolkit:
    """A CUDA compiler: the program, its version, the compute capabilities that it knows, and options that it needs."""

    nvcc: Path
    version: Version
    capabilities: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Headers:
    """A folder with TensorRT's headers, and their version."""

    folder: Path
    version: Version


def find_toolkit(given: Path | None = None) -> Toolkit:
    """Return the compiler of the folder ``given``, or the first of this machine.

    Looked at in turn: CUDA_HOME, NVIDIA's wheels of this Python, the PATH, /usr/local/cuda.

    Raises InputError if the folder has no nvcc, MissingRequirement if there is none, or something that it needs.
    """
    if given is not None and not _nvcc_in(given):
        raise InputError(f"received --cuda {given}; expected a folder with bin/nvcc; {INSTALL}, or correct the folder")
    nvcc = _nvcc_in(given) if given is not None else next(_compilers(), None)
    if nvcc is None:
        raise MissingRequirement(f"building the plugin needs NVIDIA's nvcc, which is not here; {INSTALL}")
    root = nvcc.parent.parent
    is_wheel = root.parent.name == "nvidia"
    if is_wheel and (
        absent := [wheel for wheel, files in WHEELS.items() if not any((root / one).exists() for one in files)]
    ):
        raise MissingRequirement(f"{nvcc} lacks what other wheels have; pip install {' '.join(absent)}")
    if shutil.which("g++") is None:
        raise MissingRequirement("nvcc needs a C++ compiler, and g++ is not here; apt-get install g++")
    release = re.search(r"release (\d+\.\d+)", _output(nvcc, "--version"))
    version = read_version(release[1]) if release else None
    codes = re.findall(r"^sm_(\d+)(\d)$", _output(nvcc, "--list-gpu-code"), re.MULTILINE)
    if version is None or not codes:
        raise MissingRequirement(f"{nvcc} does not tell its version and GPUs; {INSTALL}")
    return Toolkit(
        nvcc, version, tuple(f"{major}.{minor}" for major, minor in codes), _options(root) if is_wheel else ()
    )


def find_headers(given: Path | None = None) -> Headers:
    """Return TensorRT's headers in the folder ``given``, or those of this machine.

    Raises InputError if the folder has none or they are too old, MissingRequirement if this machine has none.
    """
    if given is not None:
        headers = _headers_in(given)
        if headers is None:
            raise InputError(
                f"received --trt-include {given}; expected a folder with {PLUGIN_HEADER} and {VERSION_HEADER}; "
                "name the folder that holds them"
            )
    else:
        headers = next((found for place in USUAL_HEADERS if (found := _headers_in(Path(place))) is not None), None)
        if headers is None:
            raise MissingRequirement(f"building the plugin needs TensorRT's headers, which are not here; {GET_HEADERS}")
    if headers.version < OLDEST:
        raise InputError(
            f"received headers of TensorRT {headers.version} in {headers.folder}; expected {OLDEST} or newer; "
            "name others with --trt-include"
        )
    return headers


def _nvcc_in(root: Path) -> Path | None:
    nvcc = root / "bin" / ("nvcc.exe" if sys.platform == "win32" else "nvcc")
    return nvcc if os.access(nvcc, os.X_OK) and nvcc.is_file() else None


def _compilers() -> Iterator[Path]:
    roots = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    # the wheels of CUDA 12 have ptxas alone
    roots += [root for folder in sys.path for root in sorted(Path(folder or ".", "nvidia").glob("cu[0-9]*"))]
    yield from filter(None, map(_nvcc_in, roots))
    on_path = shutil.which("nvcc")
    if on_path is not None:
        yield Path(on_path)
    yield from filter(None, [_nvcc_in(USUAL_TOOLKIT)])


def _options(root: Path) -> tuple[str, ...]:
    """Return the folders of the wheels, which nvcc's own settings do not name."""
    include = root / "include"
    return ("-I", str(include), "-I", str(include / "cccl"), "-L", str(root / "lib"))


def _output(nvcc: Path, option: str) -> str:
    try:
        done = subprocess.run([str(nvcc), option], capture_output=True, text=True, check=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        reason = one_line(error)
        raise MissingRequirement(f"{nvcc} cannot be run ({reason}); {INSTALL}") from error
    return done.stdout


def _headers_in(folder: Path) -> Headers | None:
    """Return the headers of a folder; None if it does not hold them."""
    try:
        text = (folder / VERSION_HEADER).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if not (folder / PLUGIN_HEADER).is_file():
        return None
    defined = dict(re.findall(r"^#define\s+(\w+)\s+(\w+)", text, re.MULTILINE))
    numbers = [_number(defined, f"NV_TENSORRT_{part}") for part in ("MAJOR", "MINOR", "PATCH")]
    return None if "" in numbers else Headers(folder, Version(*map(int, numbers)))


def _number(defined: dict[str, str], name: str) -> str:
    """Return the number that a name stands for, through names in between; "" for none."""
    for _ in range(len(defined)):
        value = defined.get(name, "")
        if value.isdecimal():
            return value
        name = value
    return ""
