"""The modules that lose most in a precision below float32 whose verdict failed, named beside the failure.

A graph can be right and its precision too low for it. If a number overflows, the modules that give it are named. Else
each module is lowered alone in PyTorch, as ``--precision auto`` does to choose what stays in float32; what loses most
by itself is what to keep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.module_path import is_within
from ..core.precision import FLOAT32
from ..validate.place import Place
from ..validate.stages.stage import Stage
from ..validate.verdict import FAILED, StageResult, Verdict
from .precision import floor_of

if TYPE_CHECKING:
    from ..export.precision import LowPrecisionGraph
    from ..validate.sensitivity import LayerSensitivity

# What lower precision explains; beyond the floors something else is wrong, which keeping modules does not mend.
BY_PRECISION = frozenset({"budget", "top1", "nan", "floor", "variation"})
# What a comparison says if a number is not finite.
OVERFLOW = frozenset({"nan", "floor"})
# modules that a line names, of those that lose at least this share of what the first does
SHOWN, WORTH_NAMING = 3, 0.1
IN_NO_MODULE = "most is lost outside of every module: move what forward itself computes into a module, to keep that"


def is_by_precision(stage: StageResult) -> bool:
    """Tell whether nothing of a failed stage is wrong but what a lower precision loses."""
    return bool(stage.comparisons) and all(
        found.which in BY_PRECISION for _, found in stage.comparisons if not found.passed
    )


def name_most_sensitive(
    verdict: Verdict, lowered: Mapping[str, LowPrecisionGraph], measure: Callable[[], LayerSensitivity]
) -> Verdict:
    """Return the verdict with the modules that lose most, in each failed stage of the ``lowered`` graphs.

    ``measure`` is called only if there is such a stage.
    """
    found: dict[Stage, tuple[str, str]] = {}
    for precision, low in lowered.items():
        own = [stage for stage in verdict.stages if stage.stage.precision == precision]
        failed = [stage for stage in own if stage.status == FAILED and is_by_precision(stage)]
        if failed and (named := _overflow(low, failed, measure) or _words(low, measure)):
            found |= dict.fromkeys((stage.stage for stage in failed), named)
    stages = (_with_module(stage, *found.get(stage.stage, ("", ""))) for stage in verdict.stages)
    return replace(verdict, stages=tuple(stages))


def _with_module(stage: StageResult, words: str, path: str) -> StageResult:
    """Return the stage with the words added, and with the module of that path as its place if there is one."""
    if not words:
        return stage
    return replace(stage, why=f"{stage.why}; {words}", place=Place(path) if path else stage.place)


def _overflow(
    low: LowPrecisionGraph, failed: Sequence[StageResult], measure: Callable[[], LayerSensitivity]
) -> tuple[str, str] | None:
    """Return the modules that overflow, with the options that keep them in float32, and the path of the first.

    None is returned if none is found.
    """
    compared = [pair for stage in failed for pair in stage.comparisons]
    names = {case for case, found in compared if found.which in OVERFLOW and not found.passed}
    if not names:
        return None
    try:
        found = measure().overflowing(floor_of(low), names)
    except Exception as error:  # the verdict stands whether or not they are found
        return f"which module overflows was not found ({type(error).__name__})", ""
    if not found:
        return None
    outermost = [path for path in found if not any(path != other and is_within(path, [other]) for other in found)]
    options = " ".join(f"--keep-fp32 {path}" for path in outermost)
    others = f", then in {', '.join(found[1:])}" if len(found) > 1 else ""
    words = f"{low.precision} overflows first in {found[0]}{others}: {options} keeps what overflows in float32"
    return words, found[0]


def _words(low: LowPrecisionGraph, measure: Callable[[], LayerSensitivity]) -> tuple[str, str] | None:
    """Return the modules with what each loses by itself, and the path of the first; None if none loses anything.

    What float32 loses as well is no loss of the precision: the operators of a program are in none of its modules.
    """
    try:
        lower, measured = floor_of(low), measure()
        lost, whole = measured.of_each(lower, low.lowered_modules), measured.whole(lower)
    except Exception as error:  # the verdict stands whether or not they are found
        return f"which modules lose most was not found ({type(error).__name__})", ""
    # a sum of errors is at most the sum of their sizes, so that the modules have lost no more than this
    if FLOAT32.budget < whole < math.inf and sum(lost.values()) < whole / 2:
        return IN_NO_MODULE, ""
    most = sorted((path for path in lost if lost[path] > FLOAT32.budget), key=lambda path: -lost[path])[:SHOWN]
    named = [f"{path} ({lost[path]:.2g} by itself)" for path in most if lost[path] >= WORTH_NAMING * lost[most[0]]]
    return (f"most is lost in {', '.join(named)}", most[0]) if named else None
