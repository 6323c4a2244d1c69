"""Time the plans of a case in turn, and PyTorch in float16 in turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plain_plans

from attn2trt.core.bundle import open_bundle
from attn2trt.engines.timing.method import Method
from attn2trt.engines.timing.results import Row as Timed
from attn2trt.engines.timing.runtimes import MODULES, PLANS
from attn2trt.errors import CheckFailed
from attn2trt.workflows.benchmark import benchmark
from attn2trt.workflows.variants import Variant

from .exporting import bundle_path
from .rows import read_row
from .work import Case, build_name, compile_name, plain_name

# GPUs are steady: half a second is thousands of calls of a block, and 50 of the slowest network.
METHOD = Method(
    seconds=0.5, iterations=50, max_seconds=2.0, warm_up_seconds=0.2, settle_seconds=0.01, pause_seconds=0.01
)
# One call: nothing of it is kept.
ONCE = Method(seconds=0.001, iterations=1, max_seconds=0.001, rounds=1, warm_up_seconds=0.0)


def time_plans(folder: Path, case: Case, batch: int, flavour: str, setting: str) -> dict[str, Any]:
    """Time the plans whose numerics are right, and those of the plain export in the same turns.

    Raises CheckFailed if there is none of ours.
    """
    path = bundle_path(folder, case)
    rows = {precision: read_row(folder, build_name(case, precision), setting) or {} for precision in case.precisions}
    right = [precision for precision, row in rows.items() if row.get("numerics")]
    if not right:
        raise CheckFailed("; ".join(f"{name}: {row.get('why', 'not built')}" for name, row in rows.items()))
    runtimes = [name for name, kind in PLANS.items() if kind.key in {(flavour, one, False) for one in right}]
    plain = [read_row(folder, plain_name(case, precision), setting) or {} for precision in case.plain]
    built = [row["plan"] for row in plain if row.get("status") == "done"]
    beside = [plain_plans.plain_variant(folder, case.name, open_bundle(path), built)] if built else []
    return _timed(path, batch, runtimes, beside)


def time_pytorch(folder: Path, case: Case, batch: int, setting: str) -> dict[str, Any]:
    """Time PyTorch in float16 on the GPU, eager and, if it has been compiled for this batch before, compiled."""
    compiled = (read_row(folder, compile_name(case, batch), setting) or {}).get("status") == "done"
    runtimes = [name for name, kind in MODULES.items() if kind.half and (compiled or not kind.compiled)]
    return _timed(bundle_path(folder, case), batch, runtimes)


def compile_pytorch(folder: Path, case: Case, batch: int) -> dict[str, Any]:
    """Have PyTorch choose and compile its kernels; it keeps them in its cache for ``time_pytorch``.

    Raises CheckFailed if it does not.
    """
    runtimes = [name for name, kind in MODULES.items() if kind.half and kind.compiled and not kind.graphed]
    found = benchmark(str(bundle_path(folder, case)), batches=[batch], runtimes=runtimes, backbone=False, method=ONCE)
    if refused := [row.why for row in found.rows if row.measurement is None]:
        raise CheckFailed("; ".join(refused))
    return {}


def _timed(path: Path, batch: int, runtimes: Sequence[str], beside: Sequence[Variant] = ()) -> dict[str, Any]:
    found = benchmark(str(path), batches=[batch], runtimes=runtimes, beside=beside, backbone=False, method=METHOD)
    return {"timing": [_entry(row) for row in found.rows], "warnings": found.warnings()}


def _entry(row: Timed) -> dict[str, Any]:
    """Milliseconds of one runtime, or why there are none."""
    entry: dict[str, Any] = {"runtime": row.runtime, "model": row.model, "status": row.status}
    if row.measurement is None:
        return entry | {"why": row.why}
    call, hot, on_device = row.measurement.latency, row.measurement.hot, row.measurement.on_device
    return entry | {
        "median_ms": call.median_ms,
        "p99_ms": call.p99_ms,
        "same_input_ms": hot.median_ms,
        "on_device_ms": on_device.median_ms if on_device is not None else None,
    }
