"""A verdict as a table for people: what was compared, and how far it was from PyTorch's own rounding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..core.precision import LOWER
from ..validate.metrics import GRAPH, LIMIT, PYTORCH
from ..validate.verdict import (
    AGAINST_FLOAT32,
    BUILT,
    FAILED,
    NOT_CHECKED,
    OVER_BUDGET,
    PASSED,
    REFUSED,
    StageResult,
    Status,
    Verdict,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

STYLES = {PASSED: "green", OVER_BUDGET: "yellow", AGAINST_FLOAT32: "yellow", BUILT: "cyan", NOT_CHECKED: "yellow"} | {
    REFUSED: "bold red",
    FAILED: "bold red",
}

# A larger error on inputs made to reach what data seldom reaches is stated by itself from this many times on.
MUCH_LARGER = 10.0
_TRUTHS = {PYTORCH: "PyTorch in float64", GRAPH: "the graph itself in float64, by ONNX's reference evaluator"}


def verdict_table(verdict: Verdict) -> RenderableType:
    """One row per stage, a line that says what the numbers mean, and the verdict in one sentence."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("stage", "result", "what was found")
    for stage in verdict.stages:
        table.add_row(
            Text(stage.label),
            Text(shown_status(stage, verdict.source), style=STYLES[stage.status]),
            Text(stage_sentence(stage, verdict.source)),
        )
    style = STYLES[PASSED if verdict else FAILED]
    legend = f"{truth(verdict.source)}; up to {_limits(verdict)} pass."
    return Group(table, Text(legend, style="dim"), Text(conclusion(verdict), style=style))


def truth(source: str) -> str:
    """Return, in two sentences without the last point, what is true and what a rounding is."""
    return (
        f"The truth is {_TRUTHS[source]}. One rounding is what {source} loses by itself in the stage's precision on "
        "the same input"
    )


def _limits(verdict: Verdict) -> str:
    """Return how many roundings pass: one number for float32, and those of the lower precisions that were asked."""
    names = {stage.compared_in for stage in verdict.stages if stage.comparisons}
    lower = [f"{allowed.limit:g} in {allowed.words}" for name, allowed in LOWER.items() if name in names]
    return f"{LIMIT:g} of them" + (f" ({', '.join(lower)})" if lower else "")


def shown_status(stage: StageResult, source: str) -> str:
    """Return the status as people read it; ``source`` names whose float64 the truth is."""
    return stage.status.replace(PYTORCH, source)


def stage_sentence(stage: StageResult, source: str = PYTORCH) -> str:
    """Describe what a stage found, in plain words; ``source`` names whose float64 the truth is."""
    if not stage.has_passed or not stage.comparisons:
        return stage.why
    count = len(stage.comparisons)
    cases = f"{stage.case_count} case{'s' if stage.case_count > 1 else ''}"
    compared = f"{cases}, {count} output{'s' if count > 1 else ''}"
    ratio = f"at most {stage.worst_ratio:.2g} times {source}'s own rounding" if stage.worst_ratio else "equal"
    return f"{compared}: {ratio}{_errors(stage, source)}" + (f"; {stage.why}" if stage.why else "")


def _errors(stage: StageResult, source: str) -> str:
    """The largest error on ordinary inputs; of a much larger one on others, the reason why it passes."""
    ordinary, stress = stage.worst_error, stage.worst_stress_error
    if not ordinary or not math.isfinite(ordinary):
        return ""
    alike = stress <= MUCH_LARGER * ordinary or not math.isfinite(stress)
    return f", largest error {ordinary:.1e}" + (
        "" if alike else f" ({stress:.1e} on extreme inputs, for which {source}'s own rounding is as large)"
    )


def conclusion(verdict: Verdict) -> str:
    """Return the whole verdict in one sentence; what was not checked is always named."""
    refused = _named(verdict, REFUSED, "refused")
    unchecked = _named(verdict, BUILT, "built, not run") + _named(verdict, NOT_CHECKED, "not checked")
    if verdict.source != PYTORCH:
        unchecked += "; not compared with PyTorch"
    failure = verdict.first_failure
    if failure is not None:
        return f"FAILED: the first stage that is wrong is {failure.label}{refused}{unchecked}"
    incomplete = next((stage for stage in verdict.stages if stage.is_incomplete), None)
    if incomplete is not None:
        return f"NOT CHECKED: {incomplete.label} could not be compared whole{refused}{unchecked}"
    if any(stage.status != REFUSED for stage in verdict.objections):
        return (
            "PASSED AGAINST FLOAT32 ONLY: float64 cannot run the module; --allow-float32-truth takes that for a pass"
            f"{refused}{unchecked}"
        )
    passed = sum(stage.has_passed for stage in verdict.stages)
    if not passed:
        return f"NOT CHECKED: no stage could be judged{refused}{unchecked}"
    over = sum(stage.status == OVER_BUDGET for stage in verdict.stages)
    single = sum(stage.status == AGAINST_FLOAT32 for stage in verdict.stages)
    truth = f", {single} of them against PyTorch's float32" if single else ""
    budget = f", {over} above the budget, which {verdict.source}'s float32 does not keep either" if over else ""
    stages = f"{passed} stage{'s' if passed > 1 else ''}"
    found = f"{stages} within {verdict.source}'s own rounding{truth}{budget}{unchecked}"
    return f"REFUSED{refused.removeprefix('; refused')}; all else passed: {found}" if refused else f"PASSED: {found}"


def _named(verdict: Verdict, status: Status, words: str) -> str:
    """The stages of this status, after a semicolon; nothing if there is none."""
    found = [stage.label for stage in verdict.stages if stage.status == status]
    return f"; {words}: {', '.join(found)}" if found else ""
