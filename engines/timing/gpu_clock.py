"""The clock rate of a GPU and what slows it down, from the driver's own tool."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

TOOL = "nvidia-smi"
# what it is asked; the name of the second is the one that old and new drivers know
QUERY = "clocks.sm,clocks_throttle_reasons.active"
# Bits of the second that are no choice of the user's: of NVML's nvmlClocksEventReasons.
SLOWED_BY = {
    0x04: "its power limit",
    0x08: "the hardware",
    0x20: "its temperature",
    0x40: "its temperature, by the hardware",
    0x80: "its power supply",
}
SECONDS = 20


@dataclass(frozen=True)
class GpuClock:
    """The clock of the multiprocessors in MHz, and in words what slows it down."""

    sm_mhz: float
    slowed_by: tuple[str, ...]


def gpu_clock() -> GpuClock | None:
    """Read the first GPU's clock at this moment; None without a GPU, or if its driver does not tell."""
    tool = shutil.which(TOOL)
    if tool is None:
        return None
    command = [tool, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return read_clock(said.stdout) if said.returncode == 0 else None


def read_clock(text: str) -> GpuClock | None:
    """Parse the tool's line, as ``1980, 0x0000000000000004``; None for any other line."""
    megahertz, _, reasons = text.strip().partition(",")
    try:
        active = int(reasons.strip(), 16)
        return GpuClock(float(megahertz), tuple(words for bit, words in SLOWED_BY.items() if active & bit))
    except ValueError:
        return None
