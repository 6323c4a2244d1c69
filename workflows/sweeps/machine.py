"""What a result about a machine depends on of it: a time or a plan is not that of another one."""

from __future__ import annotations

from typing import Any

from ...engines.environment import ask_driver
from ...engines.timing.machine import describe
from ..versions import package_versions


def machine_here() -> dict[str, Any]:
    """Return the processor, memory, GPUs, driver and packages of the machine that this is called on, as plain data."""
    return {**describe(), "driver": ask_driver().version, "versions": package_versions()}
