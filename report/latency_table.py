"""A benchmark as a table for people: one row for each cell that was timed, one line for what was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..engines.timing.paired import times_as_long
from ..engines.timing.results import Benchmark, Row
from ..engines.timing.runtimes import ORT_CPU, RUNTIMES

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

STYLES = {"wrong": "bold red", "failed": "bold red", "not measured": "yellow"}


def latency_table(found: Benchmark) -> RenderableType:
    """The table, what was not measured and why, warnings, and what the numbers mean."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("batch", "model", "runtime")
    on_device = any(row.measurement is not None and row.measurement.on_device is not None for row in found.rows)
    shown = ["median ms", "p90", "p99", "varies by", "calls", "same input", "items/s", "peak MiB", "x ours"]
    for name in [*shown, *(["on the GPU"] if on_device else [])]:
        table.add_column(name, justify="right")
    for row in found.rows:
        if row.measurement is not None:
            table.add_row(str(row.batch), Text(row.model), row.runtime, *_cells(row, found, on_device=on_device))
    precisions = dict.fromkeys(row.measurement.precision for row in found.rows if row.measurement is not None)
    said = [found.target, *precisions, f"{found.threads} threads", found.machine.get("cpu", "")]
    lines: list[Text] = [Text(", ".join(said))]
    lines += _missing(found)
    lines += [Text(f"warning: {text}", style="yellow") for text in found.warnings()]
    legend = Text(
        "Rotated inputs, calls of all runtimes in turn; 'same input' is the median of calls on one input, 'x ours' how "
        f"many times as long it takes as {ORT_CPU} with the same model and batch, the median of the rounds"
        + (", 'on the GPU' the median in ms by the GPU's own clock." if on_device else "."),
        style="dim",
    )
    return Group(*([table] if table.rows else []), *lines, legend)


def _cells(row: Row, found: Benchmark, *, on_device: bool) -> list[str]:
    measurement = row.measurement
    assert measurement is not None
    latency = measurement.latency
    ratio = times_ours(row, found)
    return [
        f"{latency.median_ms:.3f}",
        _number(latency.p90_ms, ".3f"),
        _number(latency.p99_ms, ".3f"),
        _number(latency.cv, ".1%"),
        str(latency.iterations),
        f"{measurement.hot.median_ms:.3f}",
        f"{measurement.throughput_per_s:.1f}",
        _number(measurement.peak_mib, ".0f"),
        _number(ratio, ".2f"),
        *([_number(measurement.on_device.median_ms if measurement.on_device else None, ".3f")] if on_device else []),
    ]


def times_ours(row: Row, found: Benchmark) -> float | None:
    """Return the latency over that of our graph in ONNX Runtime on the CPU; None if either is missing."""
    ours = next(
        (
            other.measurement
            for other in found.rows
            if (other.model, other.batch, other.runtime) == (row.model, row.batch, ORT_CPU)
        ),
        None,
    )
    if ours is None or row.measurement is None:
        return None
    return times_as_long(ours.round_medians_ms, row.measurement.round_medians_ms)


def _missing(found: Benchmark) -> list[Text]:
    """One line for each reason, with every runtime that it keeps out, however many batches and models it holds for."""
    from rich.text import Text

    reasons: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in found.rows:
        if row.measurement is None:
            reasons.setdefault((row.status, row.why), {}).setdefault(row.runtime, []).append(row)
    everywhere = len({(row.model, row.batch) for row in found.rows})
    lines = []
    for (status, why), runtimes in reasons.items():
        names = [name + _where(rows, everywhere) for name, rows in runtimes.items()]
        words = f", {RUNTIMES[next(iter(runtimes))]}" if len(runtimes) == 1 else ""
        lines.append(Text(f"{status}: {', '.join(names)}{words}: {why}", style=STYLES[status]))
    return lines


def _where(rows: Sequence[Row], everywhere: int) -> str:
    """The models and batches of the rows in brackets; nothing if these are all."""
    named = ", ".join(f"{row.model}, batch {row.batch}" for row in rows)
    return "" if len(rows) == everywhere else f" ({named})"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
