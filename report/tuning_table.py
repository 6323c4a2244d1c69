"""The trials of a tuning as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engines.timing.trials import PlanTuning, Tuning

if TYPE_CHECKING:
    from rich.console import RenderableType


def tuning_table(name: str, found: Tuning) -> RenderableType:
    """Every trial with its difference and interval, then the whole."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    at = ", ".join(f"{axis} {size}" for axis, size in found.sizes.items())
    parts: list[RenderableType] = [Text(", ".join(filter(None, [name, at, found.where])), style="bold")]
    if found.trials:
        table = Table("place", "rewrite")
        for column in ("nodes", "before, ms", "difference", "interval", ""):
            table.add_column(column, justify="right")
        for trial in found.trials:
            difference = trial.difference
            table.add_row(
                trial.kind,
                trial.form,
                str(trial.count),
                f"{trial.before_ms:.3f}",
                f"{difference.ms:+.3f}",
                f"{difference.low_ms:+.3f} to {difference.high_ms:+.3f}",
                Text("kept", style="green") if trial.kept else Text("left", style="dim"),
            )
        parts.append(table)
    if isinstance(found, PlanTuning):
        parts += [Text(f"not tried: {form}: {why}", style="yellow") for form, why in found.not_tried.items()]
    parts += [Text(line) for line in _outcome(found)]
    parts += [Text(f"warning: {remark}", style="yellow") for remark in found.conditions.remarks()]
    return Group(*parts)


def _outcome(found: Tuning) -> list[str]:
    if not found.trials:
        return ["No rewrite applies to any place of this graph; the bundle is as it was."]
    if found.before_ms is None or found.after_ms is None or found.difference is None:
        return ["No rewrite is faster here beyond doubt; the bundle is as it was."]
    whole = f"{found.before_ms:.3f} ms before, {found.after_ms:.3f} ms after"
    if found.difference.distant_ms is not None:
        whole += f", {found.difference.distant_ms:+.3f} ms while the cores were distant"
    if found.difference.is_slower_at_a_distance:
        return [f"The whole is slower while the cores are distant ({whole}); the bundle is as it was."]
    if not found.is_faster:
        return [f"The whole is not faster beyond doubt ({whole}); the bundle is as it was."]
    return [f"whole    {whole}: {found.before_ms / found.after_ms:.2f} times as fast"]
