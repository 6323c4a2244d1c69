"""A verdict as it is drawn: every stage and every case, in PyTorch's own roundings, with the floor and the limit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.precision import PRECISIONS
from ..validate.comparison import Comparison
from ..validate.verdict import (
    AGAINST_FLOAT32,
    BUILT,
    FAILED,
    NOT_CHECKED,
    OVER_BUDGET,
    PASSED,
    REFUSED,
    StageResult,
    Verdict,
)
from .scale import Bar, LogAxis, Mark, number
from .table import conclusion, shown_status, stage_sentence, truth

# A sign for each status, so that none depends on its colour alone.
SIGNS = {
    PASSED: "✓",
    OVER_BUDGET: "✓",
    AGAINST_FLOAT32: "≈",
    BUILT: "◇",
    NOT_CHECKED: "\N{EN DASH}",
    REFUSED: "✗",
    FAILED: "✗",
}
KINDS = {
    PASSED: "good",
    OVER_BUDGET: "warn",
    AGAINST_FLOAT32: "warn",
    BUILT: "note",
    NOT_CHECKED: "note",
    REFUSED: "bad",
    FAILED: "bad",
}

# What the sentence of a comparison says beside its ratio, which has a column of its own.
_BESIDE_RATIO = re.compile(r"\S+ times .*'s own rounding \((?P<place>[^;]*)\)")

# One axis for every verdict, so that bars of several bundles can be compared: 0.1 to 1000 roundings.
ROUNDINGS = LogAxis(-1, 3)


@dataclass(frozen=True)
class CaseRow:
    """One output of one case, compared in one stage; ``detail`` is what the columns beside it do not say."""

    case: str
    sizes: str
    output: str
    passed: bool
    ratio: str
    bar: Bar
    error: str
    floor: str
    detail: str


@dataclass(frozen=True)
class StageRow:
    """One stage; ``bar`` is None if nothing was compared."""

    stage: str
    status: str
    sign: str
    kind: str
    sentence: str
    ratio: str
    error: str
    limit: str
    bar: Bar | None
    cases: tuple[CaseRow, ...]


@dataclass(frozen=True)
class VerdictSection:
    """Whose verdict it is, in one sentence, and its stages; ``ticks`` are those of all bars.

    ``source`` names whose float64 is the ``truth``, which says so in sentences.
    """

    by: str
    source: str
    truth: str
    passed: bool
    conclusion: str
    stages: tuple[StageRow, ...]
    ticks: tuple[Mark, ...]


def verdict_section(verdict: Verdict, by: str) -> VerdictSection:
    """The section of one verdict."""
    source = verdict.source
    rows = tuple(_stage(stage, ROUNDINGS, source) for stage in verdict.stages)
    return VerdictSection(by, source, truth(source), bool(verdict), conclusion(verdict), rows, ROUNDINGS.ticks)


def limit_of(stage: StageResult) -> float:
    """The limit of a stage, in the roundings that it was compared in."""
    return PRECISIONS[stage.compared_in].limit


def worst_comparison(stages: Sequence[StageResult]) -> tuple[StageResult, str, Comparison] | None:
    """The stage, the case and the comparison whose error map is to be shown: of a failed one if any failed."""
    found = [(stage, case, one) for stage in stages for case, one in stage.comparisons if one.error_map is not None]
    return max(found, key=lambda part: (not part[2].passed, part[2].ratio / limit_of(part[0])), default=None)


def _stage(stage: StageResult, axis: LogAxis, source: str) -> StageRow:
    limit = limit_of(stage)
    marks = (axis.mark(1.0, "floor"), axis.mark(limit, "limit"))
    compared = bool(stage.comparisons)
    return StageRow(
        stage=stage.label,
        status=shown_status(stage, source),
        sign=SIGNS[stage.status],
        kind=KINDS[stage.status],
        sentence=stage_sentence(stage, source),
        ratio=(number(stage.worst_ratio) if stage.worst_ratio else "equal") if compared else "",
        error=number(stage.worst_error) if compared else "",
        limit=number(limit),
        bar=axis.bar(stage.worst_ratio, *marks, is_bad=stage.status == FAILED) if compared else None,
        cases=tuple(_case(case, one, axis, marks) for case, one in stage.comparisons),
    )


def _case(case: str, found: Comparison, axis: LogAxis, marks: tuple[Mark, ...]) -> CaseRow:
    return CaseRow(
        case=case,
        sizes=", ".join(f"{name} {size}" for name, size in found.sizes),
        output=found.output,
        passed=found.passed,
        ratio=number(found.ratio) if found.ratio else "equal",
        bar=axis.bar(found.ratio if not math.isnan(found.ratio) else math.inf, *marks, is_bad=not found.passed),
        error=number(found.error),
        floor=number(found.floor),
        detail=_detail(found),
    )


def _detail(found: Comparison) -> str:
    beside = _BESIDE_RATIO.fullmatch(found.detail)
    if beside is None or not found.passed:
        return found.detail
    return beside["place"] if found.ratio else ""
