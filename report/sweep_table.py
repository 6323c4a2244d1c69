"""The result of a sweep as one table: a row for each job, as text, JSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType

Status = Literal["passed", "failed", "refused", "missing", "error", "died", "skipped"]
STYLES: dict[str, str] = {"passed": "green", "missing": "yellow", "skipped": "dim"}
BY_CODE: dict[int, Status] = {0: "passed", 1: "failed", 2: "refused", 3: "missing"}


@dataclass(frozen=True)
class SweepRow:
    """One job.

    Attributes:
        verb: The command.
        target: The target.
        precision: The value of --precision; empty if there is none.
        options: The name of the set of options; empty if there are none.
        machine: The name of the kind of machine; empty for any.
        status: ``passed``; ``failed``: a verdict; ``refused``: bad input; ``missing``: something it takes is not there;
            ``error``; ``died``, each time that it was run; ``skipped``: the job before it did not pass.
        exit_code: The code of the command; None if it did not run.
        seconds: The time of the run that counts.
        attempts: How often it was run; 0 if it was not.
        node: Where it ran.
        reused: True if the result is one of before.
        found: What was found, or the error, in a sentence.
        latency_ms: The median of the fastest runtime of a benchmark.
        folder: Its folder in that of the sweep.
        key: The hash of all that the result depends on.
    """

    verb: str
    target: str
    precision: str
    options: str
    machine: str
    status: Status
    exit_code: int | None = None
    seconds: float | None = None
    attempts: int = 0
    node: str = ""
    reused: bool = False
    found: str = ""
    latency_ms: float | None = None
    folder: str = ""
    key: str = ""

    @property
    def sweep_code(self) -> int:
        """The part of the job in the exit code of the sweep: a job that was skipped adds nothing."""
        return 0 if self.status == "skipped" else 3 if self.exit_code is None else self.exit_code


def sweep_csv(rows: Sequence[SweepRow]) -> str:
    """Return the rows as CSV, with a line of names first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [found.name for found in fields(SweepRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in vars(row).items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Return a value for CSV. A text that a spreadsheet would take for a formula begins with a quote instead."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def sweep_table(rows: Sequence[SweepRow]) -> RenderableType:
    """Return the rows as a table for people. A column that says the same of every row, or nothing, is left out."""
    from rich.table import Table
    from rich.text import Text

    differ = [name for name in ("precision", "options", "machine") if len({getattr(row, name) for row in rows}) > 1]
    shown = ["verb", "target", *differ]
    has_nodes = len({row.node for row in rows if row.node}) > 1
    table = Table(*shown, "result", "s", *(["node"] if has_nodes else []), "what was found")
    for row in rows:
        cells = [Text(getattr(row, name)) for name in shown]
        cells.append(Text(_result(row), style=STYLES.get(row.status, "bold red")))
        cells.append(Text("" if row.seconds is None else f"{row.seconds:.1f}", justify="right"))
        if has_nodes:
            cells.append(Text(row.node))
        table.add_row(*cells, Text(row.found))
    return table


def sweep_summary(rows: Sequence[SweepRow]) -> str:
    """Return the counts in one sentence: what did not pass is always named."""
    passed = sum(row.status == "passed" for row in rows)
    parts = [f"{passed} of {len(rows)} jobs passed"]
    for status in ("failed", "refused", "missing", "error", "died", "skipped"):
        names = [row.folder for row in rows if row.status == status]
        if names:
            parts.append(f"{len(names)} {status}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}")
    again = sum(row.attempts > 1 for row in rows)
    if again:
        parts.append(f"{again} run again after their process or node died")
    reused = sum(row.reused for row in rows)
    if reused:
        parts.append(f"{reused} reused")
    return "; ".join(parts)


def _result(row: SweepRow) -> str:
    notes = [*(["reused"] if row.reused else []), *([f"attempt {row.attempts}"] if row.attempts > 1 else [])]
    return f"{row.status} ({', '.join(notes)})" if notes else row.status
