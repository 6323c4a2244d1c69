"""Which modules lose the most in a precision below float32 whose verdict failed, said beside the failure.

A graph can be right and its precision too low for it. Each module is lowered alone in PyTorch, as ``--precision auto``
does to choose what stays in float32; what loses most by itself is what to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from .lowering import floor_of
from .stages import lower_stages
from .validate.verdict import StageResult, Verdict

if TYPE_CHECKING:
    from .export.precision import LowGraph
    from .validate.losses import Losses

# What lower precision explains; beyond the floors something else is wrong, which keeping modules does not mend.
BY_PRECISION = frozenset({"budget", "top1", "nan", "floor", "variation"})
# modules that a line names, of those that lose at least this share of what the first does
SHOWN, WORTH_NAMING = 3, 0.1


def is_by_precision(stage: StageResult) -> bool:
    """Tell whether nothing of a failed stage is wrong but what a lower precision loses."""
    return bool(stage.comparisons) and all(
        found.which in BY_PRECISION for _, found in stage.comparisons if not found.passed
    )


def name_lossy(verdict: Verdict, lowered: Mapping[str, LowGraph], losses: Callable[[], Losses]) -> Verdict:
    """The verdict, its failed stages of the ``lowered`` graphs with the modules that lose most; ``losses`` is asked
    only where there is such a stage."""
    said: dict[str, str] = {}
    for precision, low in lowered.items():
        own = {judged.stage for judged in lower_stages(precision)}
        failed = [stage for stage in verdict.stages if stage.stage in own and stage.status == "failed"]
        failed = [stage for stage in failed if stage.comparisons and is_by_precision(stage)]
        if failed and (words := _words(low, losses)):
            said |= dict.fromkeys((stage.stage for stage in failed), words)
    stages = (
        replace(stage, why=f"{stage.why}; {said[stage.stage]}") if stage.stage in said else stage
        for stage in verdict.stages
    )
    return replace(verdict, stages=tuple(stages))


def _words(low: LowGraph, losses: Callable[[], Losses]) -> str:
    """The modules with what each loses by itself; "" where none loses anything."""
    try:
        lost = losses().of_each(floor_of(low), low.lowered_modules)
    except Exception as error:  # the verdict stands whether or not they are found
        return f"which modules lose most was not found ({type(error).__name__})"
    most = sorted((path for path in lost if lost[path] > 0), key=lambda path: -lost[path])[:SHOWN]
    named = [f"{path} ({lost[path]:.2g} by itself)" for path in most if lost[path] >= WORTH_NAMING * lost[most[0]]]
    return f"most is lost in {', '.join(named)}" if named else ""
