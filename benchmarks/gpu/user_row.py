"""Run one command as a user does, in the Python that it needs, and keep what came of it as a row."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from attn2trt.errors import MissingRequirement

from .rows import Row
from .user_checks import Said, judge
from .user_command import Command, Place
from .user_files import plan_of

FOREIGN = Path(__file__).parents[1] / "foreign_plan.py"
TAIL = 1500
_PLAN = re.compile(r"\{plan:([^}]+)\}")
_WHERE = "import pathlib, tensorrt; print(pathlib.Path(tensorrt.__file__).parent)"


@dataclass(frozen=True)
class Machine:
    """The interpreters and files of this machine.

    Attributes:
        folder: Commands run in it.
        tensorrt: The Python with TensorRT.
        onnxruntime_gpu: The folder with ONNX Runtime for GPUs, beside the Python with PyTorch; empty if there is none.
        trt_include: The folder with TensorRT's headers; empty if there is none.
        without_tactics: The sources of kernels that TensorRT does without.
    """

    folder: Path
    tensorrt: str
    onnxruntime_gpu: str = ""
    trt_include: str = ""
    without_tactics: tuple[str, ...] = ()

    def python(self, place: Place) -> str:
        """The interpreter of a place."""
        return self.tensorrt if place == "tensorrt" else sys.executable

    def environment(self, place: Place) -> dict[str, str]:
        """The environment of a command there."""
        if place != "onnxruntime-gpu":
            return dict(os.environ)
        path = os.pathsep.join(filter(None, (self.onnxruntime_gpu, os.environ.get("PYTHONPATH"))))
        return {**os.environ, "PYTHONPATH": path}

    def why_not(self, command: Command) -> str:
        """Return what is missing here for the command; empty if nothing is."""
        if command.place == "onnxruntime-gpu" and not self.onnxruntime_gpu:
            return "--onnxruntime-gpu names no folder with ONNX Runtime for GPUs"
        if command.program == "build" and not self.trt_include:
            return "--trt-include names no folder with TensorRT's headers"
        return ""


def run(command: Command, machine: Machine, setting: str) -> Row:
    """Run the command; returns its row. Its output goes to this process's, too."""
    about: Row = {"step": command.name, "kind": command.kind, "case": command.case, "precision": command.precision}
    about |= {"batch": command.batch, "setting": setting, "proves": command.proves, "place": command.place}
    about |= {"command": shown(command), "expected": command.code}
    since = time.monotonic()
    try:
        for prepare in command.prepare:
            prepare(machine.folder)
        if command.place == "onnxruntime-gpu":
            _put_cuda_libraries_beside(Path(machine.onnxruntime_gpu))
        words = arguments(command, machine)
        said = _run(words, machine.folder, machine.environment(command.place))
        found, why = judge(command.check, command.code, said)
        code, text = said.code, said.out + said.err
    except (MissingRequirement, OSError, ValueError, KeyError) as error:
        found, why, code, text = "", f"it was not run: {error}", None, ""
    hide = Hidden(machine)
    row = about | {"code": code, "seconds": round(time.monotonic() - since, 1), "passed": not why}
    row |= {"status": "failed" if why else "done", "found": hide(found), "why": hide(why)}
    return row | ({"tail": hide(text[-TAIL:])} if why else {})


class Hidden:
    """Leaves the places of this machine out of a text."""

    def __init__(self, machine: Machine) -> None:
        named = {str(machine.folder.resolve()): "FOLDER", str(machine.folder): "FOLDER", str(Path.home()): "~"}
        for name in (machine.trt_include, machine.onnxruntime_gpu, str(Path(machine.tensorrt).parent), sys.prefix):
            named |= {str(Path(name).absolute()): f"…/{Path(name).name}"} if name else {}
        self._named = {place: word for place, word in named.items() if len(place) > 1}

    def __call__(self, text: str) -> str:
        for place in sorted(self._named, key=len, reverse=True):
            text = text.replace(place, self._named[place])
        return re.sub(r"(?<![\w.])/(?:[\w.+-]+/){2,}(?=[\w.+-])", "…/", text)


def shown(command: Command) -> str:
    """Return the command as a user types it, without the places of this machine and the kernels to do without."""
    words = [_PLAN.sub(r"\1/plans/….plan", word) for word in command.words]
    program = {"attn2trt": ["attn2trt"], "python": ["python"], "foreign": ["python", FOREIGN.name]}
    if command.program == "build":
        return f"cmake -S {words[0]} -B {words[0]}/build && cmake --build {words[0]}/build"
    if command.program == "program":
        return shlex.join(["cpp/build/infer_trt", *words])
    return shlex.join([*program[command.program], *words])


def arguments(command: Command, machine: Machine) -> list[str]:
    """Return what is executed. Raises MissingRequirement if there is no compiler for the C++ program."""
    folder = machine.folder
    words = [_PLAN.sub(lambda found: _plan(folder, found[1], command), word) for word in command.words]
    python = machine.python(command.place)
    if command.program == "build":
        return ["bash", "-c", _build(folder / words[0], machine)]
    if command.program == "program":
        return [str(folder / "cpp/build/infer_trt"), *words]
    first = {"attn2trt": ["-m", "attn2trt"], "python": [], "foreign": [str(FOREIGN)]}[command.program]
    return [python, *first, *words, *_tactics(command, machine)]


def _plan(folder: Path, bundle: str, command: Command) -> str:
    """The plan's path in the bundle for the C++ program, which takes it so, else in the folder."""
    plan = plan_of(folder / bundle)
    return str(plan.relative_to(folder / bundle if command.program == "program" else folder))


def _tactics(command: Command, machine: Machine) -> list[str]:
    names = machine.without_tactics if command.with_tactics else ()
    return [word for name in names for word in ("--without-tactics", name)]


def _build(source: Path, machine: Machine) -> str:
    """Return the shell's line that builds infer_trt, by CMake if it is here, else by the compiler alone."""
    library, build = _libnvinfer(machine), source / "build"
    cuda_include, cudart = _cuda()
    if shutil.which("cmake"):
        names = {
            "TENSORRT_INCLUDE_DIR": machine.trt_include,
            "TENSORRT_LIBRARY": library,
            "CUDA_INCLUDE_DIR": cuda_include,
            "CUDART_LIBRARY": cudart,
        }
        given = [f"-D{name}={value}" for name, value in names.items()]
        configure = shlex.join(["cmake", "-S", str(source), "-B", str(build), *given])
        return f"{configure} && {shlex.join(['cmake', '--build', str(build)])} && ldd {build}/infer_trt"
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise MissingRequirement("neither CMake nor g++ is installed here")
    rpath = f"-Wl,-rpath,{library.parent}:{cudart.parent}"
    words = [compiler, "-std=c++17", "-O2", "-isystem", machine.trt_include, "-isystem", str(cuda_include)]
    words += [str(source / "infer_trt.cpp"), "-o", str(build / "infer_trt"), str(library), str(cudart), rpath]
    return f"mkdir -p {shlex.quote(str(build))} && {shlex.join(words)} && ldd {build}/infer_trt"


def _libnvinfer(machine: Machine) -> Path:
    asked = subprocess.run([machine.tensorrt, "-c", _WHERE], capture_output=True, text=True, check=False)
    package = Path(asked.stdout.strip() or "nowhere")
    places = (package, package.with_name("tensorrt_libs"))
    found = [library for place in places for library in sorted(place.glob("libnvinfer.so*"))]
    if not found:
        raise MissingRequirement(f"the Python with TensorRT has no libnvinfer.so ({asked.stderr.strip()[-200:]})")
    return found[0]


def _cuda() -> tuple[Path, Path]:
    """The folder of CUDA's headers and its runtime's library, of the toolkit or of the wheels that PyTorch brought."""
    roots = [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True)]
    roots += [root for place in _nvidia_wheels() for root in sorted(place.glob("cu[0-9]*"), reverse=True)]
    for root in roots:
        found = [library for name in ("lib64", "lib") for library in sorted((root / name).glob("libcudart.so*"))]
        if found and (root / "include/cuda_runtime_api.h").is_file():
            return root / "include", found[0]
    raise MissingRequirement("there is no CUDA toolkit in /usr/local, and none among NVIDIA's wheels")


def _put_cuda_libraries_beside(place: Path) -> None:
    """Link NVIDIA's wheels beside ONNX Runtime, where one environment with both would have them."""
    link, found = place / "nvidia", _nvidia_wheels()
    if found and not link.exists():
        link.symlink_to(found[0].resolve())


def _nvidia_wheels() -> list[Path]:
    """The folders of NVIDIA's wheels in this Python."""
    spec = find_spec("nvidia")
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def _run(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Said:
    ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    out, err = ran.stdout.decode(errors="replace"), ran.stderr.decode(errors="replace")
    print(shlex.join(words), out, err, f"exit code {ran.returncode}", sep="\n", flush=True)
    return Said(ran.returncode, out, err, folder)
