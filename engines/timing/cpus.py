"""The processors that this process may run on."""

from __future__ import annotations

import os


def usable_cpus() -> set[int]:
    """Their numbers."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))
