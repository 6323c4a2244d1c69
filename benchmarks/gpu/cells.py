"""The cells of the tables of latencies: all that was timed of one case in one precision at one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attn2trt.core.precision import PRECISIONS
from attn2trt.engines.timing.runtimes import MODULES, PLANS

OURS = "target"
# In milliseconds: by the GPU's own clock, and by the host's until the outputs are there.
DEVICE, CALL = "on_device_ms", "median_ms"
COLUMNS = ("ours", "ours, graph", "plain", "plain, graph", "eager", "eager, graph", "compiled", "compiled, graph")


@dataclass(frozen=True)
class Cell:
    """A case in one precision at one batch. ``ms`` has milliseconds by column, for those that were timed."""

    case: str
    precision: str
    batch: int
    ms: Mapping[str, float]

    @property
    def fastest(self) -> float | None:
        """Milliseconds of the faster one of ours."""
        return min((self.ms[name] for name in COLUMNS[:2] if name in self.ms), default=None)

    @property
    def rival(self) -> str:
        """The fastest column that is not ours; empty if there is none."""
        others = [name for name in COLUMNS[2:] if name in self.ms]
        return min(others, key=lambda name: self.ms[name]) if others else ""

    @property
    def best(self) -> float | None:
        """Return the latency of the fastest of the others over ours."""
        return self.ms[self.rival] / self.fastest if self.rival and self.fastest else None


def cells(found: Mapping[str, Any], clock: str) -> list[Cell]:
    """One for each case, precision and batch that was timed; PyTorch's float16 is beside our float16.

    ``clock`` is one of DEVICE and CALL.
    """
    ms: dict[tuple[str, str, int], dict[str, float]] = {}
    for entry in found["timing"]:
        named = _column(found["flavour"], entry)
        if named is not None and entry.get(clock):
            precision, column = named
            ms.setdefault((entry["case"], precision, entry["batch"]), {})[column] = entry[clock]
    order = list(PRECISIONS)
    return [
        Cell(*key, found_ms)
        for key, found_ms in sorted(ms.items(), key=lambda item: (order.index(item[0][1]), item[0][0], item[0][2]))
    ]


def _column(flavour: str, entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """The precision and the column of a runtime; None for one that is in no table."""
    runtime, model = entry["runtime"], entry["model"]
    if runtime in PLANS and PLANS[runtime].flavour == flavour:
        graph = ", graph" if PLANS[runtime].graphed else ""
        return PLANS[runtime].precision, f"{'ours' if model == OURS else 'plain'}{graph}"
    if runtime in MODULES and MODULES[runtime].half:
        kind = MODULES[runtime]
        return "fp16", f"{'compiled' if kind.compiled else 'eager'}{', graph' if kind.graphed else ''}"
    return None
