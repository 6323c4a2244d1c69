"""The most memory that this process has held, counted from a moment of our choice if the system offers that."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


def start_peak() -> bool:
    """Give back what was freed and count the peak from now on; False if it counts from the process's start."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a C library without malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def peak_mib() -> float | None:
    """Return the largest resident set in MiB; None if the system does not tell."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        if found:
            return int(found[1]) / 1024
    if sys.platform == "win32":
        return None
    import resource

    # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)
