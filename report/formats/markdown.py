"""A verdict as Markdown, to be the comment on a pull request or the summary of a job."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from ...validate.predictions.results import Predictions
from ...validate.verdict import StageResult
from ..predictions_table import about, predictions_sentence
from ..table import shown_status, stage_sentence, truth
from ..verdict_section import SIGNS, limit_of
from .finding import Outcome

# What GitHub would make a link, a mention or a part of a table of.
_SPECIAL = re.compile(r"([\\`*_\[\]#|~@])")


def markdown(outcome: Outcome) -> str:
    """Return a heading, the verdict, a row for each stage, and where the code is wrong.

    The first line is a comment by which a bot finds what it wrote before.
    """
    return "\n".join(_lines(outcome)) + "\n"


def _lines(outcome: Outcome) -> Iterator[str]:
    yield f"<!-- attn2trt {_escaped(outcome.name).replace('--', '- -')} -->"
    yield f"### {'✓' if outcome.passed else '✗'} attn2trt: {_escaped(outcome.name)}"
    yield ""
    yield f"**{_escaped(outcome.conclusion)}**"
    if outcome.stages:
        yield ""
        yield "| stage | result | roundings | limit | what was found |"
        yield "| --- | --- | ---: | ---: | --- |"
        yield from (_row(stage, outcome.source) for stage in outcome.stages)
        yield ""
        yield f"{truth(outcome.source)}."
    if outcome.predictions is not None:
        yield from _predictions(outcome.predictions)
    places = dict.fromkeys((one.at, one.module) for one in outcome.findings if one.at is not None)
    if places:
        yield ""
        for at, module in places:
            assert at is not None
            named = f" ({_escaped(module)})" if module else ""
            yield f"- see {_code(at.file)}, line {at.line}{named}"
    if outcome.bundle:
        yield ""
        yield f"Bundle {_code(outcome.bundle)}, with `report.html`."


def _predictions(found: Predictions) -> Iterator[str]:
    if found.runtimes:
        yield ""
        yield from _compared(found)
    yield ""
    for line in about(found):
        yield f"- {_escaped(line)}"


def _compared(found: Predictions) -> Iterator[str]:
    heads = ["predictions", "result", "changed", "interval", *map(_escaped, found.scores), "what was found"]
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join(['---'] * len(heads))} |"
    for runtime in found.runtimes:
        low, high = runtime.interval
        scores = [f"{runtime.scores[name]:.2%}" if name in runtime.scores else "" for name in found.scores]
        counted = [f"{runtime.share:.2%}", f"{low:.2%} to {high:.2%}"] if runtime.images else ["", ""]
        cells = [
            runtime.stage.label,
            runtime.outcome(found.max_flips),
            *counted,
            *scores,
            predictions_sentence(runtime),
        ]
        yield f"| {' | '.join(map(_escaped, cells))} |"


def _row(stage: StageResult, source: str) -> str:
    compared = bool(stage.comparisons)
    ratio = _number(stage.worst_ratio) if compared else ""
    limit = _number(limit_of(stage)) if compared else ""
    cells = [stage.label, f"{SIGNS[stage.status]} {shown_status(stage, source)}", ratio, limit]
    cells.append(stage_sentence(stage, source))
    return f"| {' | '.join(map(_escaped, cells))} |"


def _number(value: float) -> str:
    return f"{value:.2g}" if math.isfinite(value) else str(value)


def _code(path: str) -> str:
    """A path that ends neither its line nor its span of code."""
    return f"`{' '.join(path.replace('`', '').split())}`"


def _escaped(text: str) -> str:
    """The text on one line, as it is read."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain).replace("\\@", "&#64;")
