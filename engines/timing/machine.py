"""The machine that was measured on: what it is, and what else it was doing meanwhile."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..environment import ask_driver
from .core_latency import CoreDistance
from .cpus import usable_cpus
from .gpu_clock import GpuClock, gpu_clock

PACKAGES = ("torch", "timm", "onnx", "onnxruntime-gpu", "onnxruntime", "onnxsim", "tensorrt", "numpy")
CPUS = Path("/sys/devices/system/cpu")
# Fewer cores than this taken by others look like the operating system's own work.
BUSY_CORES = 0.1
DEFAULT_CACHE_BYTES = 32 << 20
# No GPU's second-level cache is larger.
GPU_CACHE_BYTES = 128 << 20


def describe() -> dict[str, Any]:
    """Processor, cores, cache, memory, GPUs and operating system."""
    return {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "cores": len(usable_cpus()),
        "physical_cores": physical_cores(),
        "last_level_cache_mib": last_level_cache_bytes() / (1 << 20),
        "memory_gib": _memory_gib(),
        "gpus": list(ask_driver().devices),
    }


def physical_cores() -> int:
    """Return how many cores these are: two threads of one core compute no faster than one."""
    cpus = usable_cpus()
    cores = {_read(CPUS / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus}
    return len(cores)


# More than any machine runs well, and fewer than a process may start
MOST_THREADS = 1024


def thread_count(asked: int | None) -> int:
    """Return the threads that were asked for, the physical cores if None. Raises InputError outside of MOST_THREADS."""
    count = asked if asked is not None else physical_cores()
    if not 1 <= count <= MOST_THREADS:
        raise InputError(f"received {count} threads; expected 1 to {MOST_THREADS}; correct --threads")
    return count


@functools.lru_cache(maxsize=1)
def installed_versions() -> tuple[tuple[str, str], ...]:
    """Return (package, version) of what a latency depends on, as far as it is installed."""
    found = []
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found.append((name, version(name)))
    return tuple(found)


def last_level_cache_bytes() -> int:
    """Return the largest cache of the first processor; 32 MiB if the system does not tell."""
    sizes = []
    for path in sorted(CPUS.glob("cpu0/cache/index*/size")):
        found = re.fullmatch(r"(\d+)([KMG]?)", _read(path))
        if found:
            sizes.append(int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]])
    return max(sizes, default=DEFAULT_CACHE_BYTES)


@dataclass(frozen=True)
class Conditions:
    """The state of the machine while something was measured; None for what the system does not tell.

    ``other_cores`` is the mean number of cores that were busy with anything but this process and its children, and
    ``throttled`` how often a core slowed down for its heat. ``mhz`` is the mean clock before and after, ``gpu`` the
    first GPU's clock after, ``core_distance`` how near the processors were to each other.
    """

    seconds: float
    other_cores: float | None
    mhz: tuple[float | None, float | None]
    throttled: int | None
    gpu: GpuClock | None = None
    core_distance: CoreDistance | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Return what is known that makes the numbers doubtful, in words; empty on a quiet machine."""
        found = []
        if (self.other_cores or 0) > BUSY_CORES:
            found.append(f"{self.other_cores:.1f} cores were busy with something else")
        if self.throttled:
            found.append(f"a core was throttled {self.throttled} times")
        if self.gpu is not None and self.gpu.slowed_by:
            found.append(f"the GPU was slowed down by {' and '.join(self.gpu.slowed_by)}")
        if self.core_distance is not None and self.core_distance.kept:
            found.append(f"the processors were {self.core_distance.words}")
        return tuple(found)

    def remarks(self) -> list[str]:
        """One line for the doubts and what to do about them, and one for rounds that were left out."""
        found = [f"{', and '.join(self.doubts)}; measure again on a quiet machine"] if self.doubts else []
        distance = self.core_distance
        if distance is not None and distance.distant and not distance.kept:
            found.append(f"the processors were {distance.words}, which were left out")
        return found


class Watch:
    """Notes the machine's counters when it is made, and compares them when it is asked."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._busy = _busy_seconds()
        self._mhz = _mhz()
        self._throttled = _throttled()

    def conditions(self, own_cpu_seconds: float, core_distance: CoreDistance | None = None) -> Conditions:
        """Return the conditions since then; ``own_cpu_seconds`` is the measured processes' processor time meanwhile."""
        seconds = time.perf_counter() - self._since
        busy, throttled = _busy_seconds(), _throttled()
        others = None
        if busy is not None and self._busy is not None and seconds > 0:
            others = max(0.0, busy - self._busy - own_cpu_seconds) / seconds
        slowed = None if throttled is None or self._throttled is None else throttled - self._throttled
        return Conditions(seconds, others, (self._mhz, _mhz()), slowed, gpu_clock(), core_distance)


def _busy_seconds() -> float | None:
    """Seconds that our processors spent on anything since the machine started, stolen ones among them."""
    ticks = 0
    lines = {line.split()[0]: line.split()[1:9] for line in _read(Path("/proc/stat")).splitlines() if line.strip()}
    # Not the line for all: a container may be given a few processors of many.
    for name in (f"cpu{number}" for number in usable_cpus()):
        if len(lines.get(name, ())) < 8:
            return None
        user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, lines[name])
        ticks += user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def _mhz() -> float | None:
    clocks = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _read(Path("/proc/cpuinfo")), re.M)]
    return sum(clocks) / len(clocks) if clocks else None


def _throttled() -> int | None:
    texts = map(_read, CPUS.glob("cpu*/thermal_throttle/core_throttle_count"))
    counts = [int(text) for text in texts if text.isdigit()]
    return sum(counts) if counts else None


def _cpu_name() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")), re.M)
    return found[1] if found else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB", _read(Path("/proc/meminfo")), re.M)
    return round(int(found[1]) / (1 << 20), 1) if found else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
