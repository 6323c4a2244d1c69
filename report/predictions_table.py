"""Predictions on a data set as a table and lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..validate.predictions.interval import CONFIDENCE
from ..validate.predictions.metric import Change
from ..validate.predictions.results import Outcome, Predictions, RuntimePredictions

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 5  # changed images of a runtime that are printed; the JSON has them all
# The advice if the bundle has only the float32 graph, which is the reference
ALONE = "; --reference pytorch compares the float32 graph, and deploy --precision fp32,fp16 makes another to compare"
STYLES: Mapping[Outcome, str] = {
    "passed": "green",
    "failed": "bold red",
    "compared": "",
    "not compared": "yellow",
}


def predictions_table(found: Predictions) -> RenderableType:
    """Return a row for each runtime, the images that changed, and a sentence."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("predictions", "result", "changed", f"{CONFIDENCE:.0%} interval", *found.scores, "what was found")
    if found.scores:
        values = [f"{value:.2%}" for value in found.scores.values()]
        table.add_row(Text("the reference"), Text(""), "", "", *values, Text(f"{found.labelled} images with a label"))
    for runtime in found.runtimes:
        outcome = runtime.outcome(found.max_flips)
        scores = [f"{runtime.scores[name]:.2%}" if name in runtime.scores else "" for name in found.scores]
        low, high = runtime.interval
        counted = [f"{len(runtime.changes)} of {runtime.images}", f"{low:.2%} to {high:.2%}"]
        table.add_row(
            Text(runtime.stage.label),
            Text(outcome, style=STYLES[outcome]),
            *(counted if runtime.images else ["", ""]),
            *scores,
            Text(predictions_sentence(runtime)),
        )
    style = "green" if found else "bold red" if found.has_failed else ""
    lines = [Text(line, style="dim") for line in about(found)]
    changes = [Text(line) for line in _changes(found)]
    tables = [table] if table.row_count else []
    return Group(*tables, *lines, *changes, Text(predictions_conclusion(found), style=style))


def about(found: Predictions) -> list[str]:
    """Return what was read and compared, and what was left out, in lines."""
    lines = [f"dataset    {found.dataset}", f"metric     {found.metric}"]
    lines += [f"reference  {found.reference}"] if found.reference else []
    lines += [f"labels     {found.labels}: {found.labelled} of {found.images} images"] if found.labels else []
    lines += [f"note       {note}" for note in found.notes]
    lines += [f"not read   {why}" for _, why in found.refused[:SHOWN]]
    if (more := len(found.refused) - SHOWN) > 0:
        lines.append(f"not read   and {more} more")
    if found.not_finite:
        named = ", ".join(found.not_finite[:SHOWN])
        lines.append(f"not finite the reference is NaN or infinity on {len(found.not_finite)} images: {named}")
    return lines


def predictions_label(runtime: RuntimePredictions) -> str:
    """Return the name of a runtime's predictions among the stages of a verdict."""
    return f"{runtime.stage.label}, predictions"


def predictions_sentence(runtime: RuntimePredictions) -> str:
    """Describe what a runtime's predictions are beside the reference's."""
    if runtime.why:
        return runtime.why
    if not runtime.changes:
        return "no image changed"
    ties = f"; {runtime.ties} of them ties within float32's own rounding" if runtime.ties else ""
    return f"{len(runtime.changes)} of {runtime.images} images changed ({runtime.share:.2%}){ties}"


def _changes(found: Predictions) -> Iterator[str]:
    """Yield a line for the first changed images of each runtime."""
    for runtime in found.runtimes:
        for change in runtime.changes[:SHOWN]:
            yield f"changed    {runtime.stage.label}: {change_line(change, found.unit)}"
        if (more := len(runtime.changes) - SHOWN) > 0:
            yield f"changed    {runtime.stage.label}: and {more} more; --json has them all"


def change_line(change: Change, unit: str) -> str:
    """Return one changed image in words."""
    tie = ", a tie" if change.is_tie else ""
    margin = f"margin {change.margin:.3g} {unit}{tie}: " if change.margin == change.margin else ""
    return f"{change.image}: {margin}{change.reference} → {change.found}"


def allowance(share: float) -> str:
    """Return the limit in words, as it is given: in percent."""
    return f"{100 * share:.3g}% of the images may change"


def predictions_conclusion(found: Predictions) -> str:
    """Return the verdict on the predictions, or what was counted if no limit was given, in one sentence."""
    if found.error is not None:
        return f"PREDICTIONS {'FAILED' if found.has_failed else 'NOT CHECKED'}: {found.error}"
    unused = len(found.refused)
    unread = f"; {unused} image{'s' * (unused > 1)} could not be used" if unused else ""
    nothing = f"nothing was compared with the reference{'' if found.runtimes else ALONE}"
    compared = [runtime for runtime in found.runtimes if not runtime.why]
    left_out = [runtime.stage.label for runtime in found.runtimes if runtime.why]
    unchecked = (f"; not compared: {', '.join(left_out)}" if left_out else "") + unread
    if found.max_flips is None:
        return f"PREDICTIONS: {_most_changed(compared, unchecked) if compared else f'{nothing}{unchecked}'}"
    allowed = allowance(found.max_flips)
    failed = [runtime for runtime in found.runtimes if runtime.outcome(found.max_flips) == "failed"]
    if failed:
        first = failed[0]
        reason = first.why or f"{len(first.changes)} of {first.images} images changed"
        return f"PREDICTIONS FAILED: {first.stage.label}: {reason}; {allowed}{unchecked}"
    if found.objection:
        return f"PREDICTIONS FAILED: {found.objection}; {allowed}{unchecked}"
    if not compared:
        return f"PREDICTIONS NOT CHECKED: {nothing}{unchecked}"
    count = f"{len(compared)} runtime{'s' * (len(compared) > 1)}"
    beyond = [runtime.stage.label for runtime in compared if runtime.interval[1] > found.max_flips]
    wide = f"; more images would tell, the interval reaches beyond: {', '.join(beyond)}" if beyond else ""
    return f"PREDICTIONS PASSED: {count}, {allowed}{wide}{unchecked}"


def _most_changed(compared: Sequence[RuntimePredictions], unchecked: str) -> str:
    worst = max(compared, key=lambda runtime: runtime.share)
    most = f"most changed in {worst.stage.label}, {len(worst.changes)} of {worst.images} images"
    return f"{most if worst.changes else 'no prediction changed'}{unchecked}; --max-flips makes a verdict of it"
