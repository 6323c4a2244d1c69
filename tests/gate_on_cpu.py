"""The plugin's kernels compiled for a CPU, run on arrays, and the float64 that they are judged by."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from attn2trt.core.precision import PRECISIONS
from attn2trt.engines.tensorrt.plugin.build import SOURCES
from attn2trt.validate.comparison import Comparison, compare
from attn2trt.validate.metrics import measure

CPU = Path(__file__).parent / "engines/tensorrt/plugin/cpu"
GUARD = 64
HOW = ("one_kernel", "parts", "channels", "groups", "threads", "shared")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Device:
    """What the kernels ask a device for; by default a small one, so that images are shared and queue up."""

    processors: int = 2
    shared_of_block: int = 1 << 14
    shared_of_processor: int = 1 << 15
    cooperative: bool = True
    threads: int = 64


@dataclass(frozen=True)
class Case:
    """A gate. ``shift`` moves the map, and ``others`` the residual and the output, by elements from 16 bytes."""

    n: int = 2
    c: int = 33
    h: int = 7
    w: int = 7
    hidden: int = 4
    precision: str = "fp32"
    hard: bool = False
    residual: bool = False
    relu: bool = False
    shift: int = 0
    others: int = 0
    seed: int = 0
    device: Device = Device()


@dataclass(frozen=True)
class Feeds:
    """Maps in the case's type, weights in float32."""

    x: Array
    w1: Array
    b1: Array
    w2: Array
    b2: Array
    residual: Array | None


def compile_for_cpu(folder: Path, sources: Path = SOURCES) -> ctypes.CDLL:
    """Compile and load the kernels; skip the test if there is no compiler."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    library = folder / "gate_on_cpu.so"
    options = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    quiet = ["-Wno-unknown-pragmas", "-Wno-clobbered", "-Wno-unused-parameter"]
    command = ["g++", *options, *quiet, f"-I{CPU}", f"-I{sources}", str(CPU / "device.cpp"), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(library))
    loaded.attn2trt_channel_gate_workspace.restype = ctypes.c_size_t
    loaded.cpu_error.restype = ctypes.c_char_p
    return loaded


def draw(case: Case) -> Feeds:
    """Draw inputs that leave the gate in its steep part."""
    rng = np.random.default_rng(case.seed)
    dtype = np.dtype(PRECISIONS[case.precision].dtype)
    shape = (case.n, case.c, case.h, case.w)

    def normal(*size: int, scale: float = 1.0) -> Array:
        return rng.normal(0, scale, size).astype(np.float32)

    x = (normal(*shape) + normal(case.n, case.c, 1, 1)).astype(dtype)
    return Feeds(
        x=x,
        w1=normal(case.hidden, case.c, scale=case.c**-0.5),
        b1=normal(case.hidden, scale=0.3),
        w2=normal(case.c, case.hidden, scale=case.hidden**-0.5),
        b2=normal(case.c, scale=0.3),
        residual=normal(*shape).astype(dtype) if case.residual else None,
    )


def _placed(values: Array, offset: int) -> tuple[Array, Array]:
    """Return a buffer with room on both sides, and the values in it, ``offset`` elements behind a place of 16 bytes."""
    buffer = np.full(values.size + 2 * GUARD + 16, np.nan, values.dtype)
    first = -buffer.ctypes.data % 16 // values.itemsize + GUARD + offset
    view = buffer[first : first + values.size].reshape(values.shape)
    view[...] = values
    return buffer, view


def run(library: ctypes.CDLL, case: Case, feeds: Feeds) -> tuple[Array, dict[str, int]]:
    """Return y and the way that was chosen. Fails if anything else than y is written, or a launch fails."""
    device = case.device
    numbers = (device.processors, device.shared_of_block, device.shared_of_processor, int(device.cooperative))
    library.cpu_device(*numbers, device.threads, case.seed)
    _, x = _placed(feeds.x, case.shift)
    around, y = _placed(np.full_like(feeds.x, 7.0), case.others)
    before = around.copy()
    added = None if feeds.residual is None else _placed(feeds.residual, case.others)[1]
    sizes = (case.n, case.c, case.h * case.w, case.hidden)
    bytes_ = int(library.attn2trt_channel_gate_workspace(*sizes))
    workspace = np.full(bytes_ + 256 + GUARD, 0xFF, np.uint8)
    start = -workspace.ctypes.data % 256
    chosen = (ctypes.c_int * len(HOW))()

    def at(array: Array | None) -> ctypes.c_void_p:
        return ctypes.c_void_p(None if array is None else array.ctypes.data)

    maps = [at(array) for array in (x, feeds.w1, feeds.b1, feeds.w2, feeds.b2, added, y)]
    kinds = (int(case.precision == "fp16"), int(case.hard), int(case.relu))
    place = ctypes.c_void_p(workspace.ctypes.data + start)
    code = library.attn2trt_channel_gate(*maps, *sizes, *kinds, place, None, chosen)
    assert code == 0, (code, library.cpu_error().decode())
    assert (workspace[start + bytes_ :] == 0xFF).all(), "written beyond the workspace"
    assert np.array_equal(x, feeds.x, equal_nan=True), "the input was changed"
    found = y.copy()
    y[...] = 7.0
    assert np.array_equal(around, before, equal_nan=True), "written beside the output"
    return found, dict(zip(HOW, chosen, strict=True))


def formula(case: Case, feeds: Feeds, dtype: torch.dtype, *, half: bool = False) -> Array:
    """Compute the gate by PyTorch; with ``half`` every result that a float16 graph has is rounded to float16."""

    def tensor(array: Array) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float64)).to(dtype)

    def rounded(value: torch.Tensor) -> torch.Tensor:
        return value.half().to(dtype) if half else value

    x, w1, b1, w2, b2 = map(tensor, (feeds.x, feeds.w1, feeds.b1, feeds.w2, feeds.b2))
    mean = x.mean((2, 3), keepdim=True)
    hidden = torch.relu(torch.nn.functional.conv2d(mean, w1[:, :, None, None], b1))
    last = torch.nn.functional.conv2d(hidden, w2[:, :, None, None], b2)
    y = rounded(x * rounded(torch.nn.functional.hardsigmoid(last) if case.hard else torch.sigmoid(last)))
    if feeds.residual is not None:
        y = rounded(y + tensor(feeds.residual))
    return (torch.relu(y) if case.relu else y).numpy()


def judge(library: ctypes.CDLL, case: Case, feeds: Feeds | None = None) -> tuple[Comparison, dict[str, int]]:
    """Run a case and compare it with PyTorch in float64, by the limits of the verdict in its precision."""
    feeds = draw(case) if feeds is None else feeds
    out, how = run(library, case, feeds)
    truth = formula(case, feeds, torch.float64)
    floor = measure(formula(case, feeds, torch.float32, half=case.precision == "fp16"), truth)
    largest = float(np.nanmax(np.abs(feeds.x.astype(np.float64))))
    precision = PRECISIONS[case.precision]
    return compare("y", out, truth, floor, largest, precision=precision, dtype=precision.dtype), how


def random_case(number: int) -> Case:
    """Draw a case and a device for it."""
    rng = np.random.default_rng(1000 + number)

    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    device = Device(
        processors=one_of(1, 2, 3, 7),
        shared_of_block=one_of(1 << 11, 1 << 13, 1 << 14),
        shared_of_processor=one_of(1 << 14, 1 << 15),
        cooperative=one_of(True, True, True, False),
        threads=one_of(32, 64, 96),
    )
    case = Case(
        n=one_of(1, 2, 3, 9),
        c=one_of(1, 2, 5, 16, 33, 40),
        h=one_of(1, 3, 7, 8),
        w=one_of(1, 5, 7, 16),
        hidden=one_of(1, 2, 5, 33),
        precision=one_of("fp32", "fp16"),
        seed=number,
        device=device,
    )
    flags = {name: bool(rng.integers(2)) for name in ("hard", "residual", "relu")}
    return replace(case, **flags, shift=one_of(0, 0, 1, 3), others=one_of(0, 0, 1, 3))
