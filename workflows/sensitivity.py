"""What to keep in float32 of a precision whose verdict failed, named beside the failure.

A graph can be right and its precision too low for it. If a number overflows, the modules that give it are named. Else
each module is lowered alone in PyTorch, as ``--precision auto`` does to choose what stays in float32; those that lose
most by themselves are named, and how many of them must be kept until PyTorch loses little enough. If slices that lose
their variation are all that failed, it is these that are measured: beside boxes in hundreds of pixels, what scores lose
is nothing of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.module_path import outermost
from ..core.precision import BF16, FLOAT32, FP16, INT8, INT8_FP16, LOWER, PRECISIONS, TRIED
from ..validate.place import Place
from ..validate.slices import VARIATION, Slice
from ..validate.stages.judge import KEEP, with_advice
from ..validate.stages.stage import Stage
from ..validate.verdict import FAILED, StageResult, Verdict
from .options import AUTO
from .precision import floor_of, rest_of

if TYPE_CHECKING:
    from ..export.precision import LowPrecisionGraph
    from ..validate.comparison import Comparison
    from ..validate.sensitivity import LayerSensitivity

# Failures that lower precision explains; keeping modules in float32 does not mend others.
BY_PRECISION = frozenset({"budget", "top1", "nan", "floor", VARIATION})
# Failures by a number that is not finite.
OVERFLOW = frozenset({"nan", "floor"})
# modules that a line names, of those that lose at least this share of what the first does
SHOWN, WORTH_NAMING = 3, 0.1
# and that it names to be kept; if more are needed it says how many
MOST_KEPT = 12
IN_NO_MODULE = (
    "most is lost outside of every module: move what forward itself computes into a module, and name that by "
    "--keep-fp32"
)
# Precisions with float32's range in place of those with float16's.
WIDER = {FP16: BF16, INT8_FP16: INT8}


def is_by_precision(stage: StageResult) -> bool:
    """Return True if a failed stage has no failures but those that a lower precision explains."""
    return bool(stage.comparisons) and all(
        found.which in BY_PRECISION for _, found in stage.comparisons if not found.passed
    )


def lost_slices(failed: Sequence[StageResult], measured: LayerSensitivity) -> list[Slice]:
    """Return the worst slice of each output that lost its variation; none if anything failed otherwise, or in the
    scores that a graph was made to show."""
    compared = _failures(failed)
    if any(found.which != VARIATION for found in compared):
        return []
    slices = dict.fromkeys(Slice(found.output, *found.worst_index) for found in compared)
    return [part for part in slices if part.output in measured.output_names]


def advised(verdict: Verdict, lowered: Collection[str], *, of_file: bool = False) -> Verdict:
    """Return the verdict, in which failed stages of the ``lowered`` precisions say what can stay in float32."""
    stages = (with_advice(one, of_file=of_file) if one.stage.precision in lowered else one for one in verdict.stages)
    return replace(verdict, stages=tuple(stages))


def name_most_sensitive(
    verdict: Verdict,
    lowered: Mapping[str, LowPrecisionGraph],
    measure: Callable[[], LayerSensitivity],
    max_error: float | None = None,
) -> Verdict:
    """Return the verdict with what to keep in float32, in each failed stage of the ``lowered`` graphs.

    ``measure`` is called only if the precision explains such a failure; ``max_error`` replaces the precisions' budgets.
    """
    found: dict[Stage, tuple[str, str]] = {}
    for precision, low in lowered.items():
        own = [stage for stage in verdict.stages if stage.stage.precision == precision]
        failed = [stage for stage in own if stage.status == FAILED and is_by_precision(stage)]
        if failed and (named := _overflow(low, failed, measure) or _words(low, failed, measure, max_error)):
            found |= dict.fromkeys((stage.stage for stage in failed), named)
    pairs = zip(verdict.stages, advised(verdict, lowered).stages, strict=True)
    stages = (_with_words(bare, full, *found[full.stage]) if full.stage in found else full for bare, full in pairs)
    return replace(verdict, stages=tuple(stages))


def _with_words(bare: StageResult, advised: StageResult, words: str, path: str) -> StageResult:
    """Return the stage with the words added, and with the module of that path as its place."""
    if not path:  # no module to keep: the words say what helps
        return replace(bare, why=f"{bare.why}; {words}")
    return replace(advised, why=f"{advised.why}; {words}", place=Place(path))


def _overflow(
    low: LowPrecisionGraph, failed: Sequence[StageResult], measure: Callable[[], LayerSensitivity]
) -> tuple[str, str] | None:
    """Return what overflows with what helps, and the path of the first module; None if nothing is found."""
    compared = [pair for stage in failed for pair in stage.comparisons]
    names = {case for case, found in compared if found.which in OVERFLOW and not found.passed}
    if not names:
        return None
    try:
        lower = rest_of(low) if PRECISIONS[low.precision].is_placed else floor_of(low)
        found = measure().overflowing(lower, names)
    except Exception as error:  # the verdict stands whether or not they are found
        return f"{KEEP}; which module overflows was not found ({type(error).__name__})", ""
    paths, first = found.paths, next(iter(found.paths), "")
    places = [*paths, *([f"the model's own forward, {found.own}"] if found.own else [])]
    if not places:
        return None
    others = f", then in {', '.join(places[1:])}" if len(places) > 1 else ""
    options = " ".join(f"--keep-fp32 {path}" for path in outermost(paths))
    if not found.own:
        helps = f"{options} keeps what overflows in float32"
    else:
        beside = f" beside {options}" if paths else ""
        other = f", or take {WIDER[low.precision]}" if low.precision in WIDER else ""
        helps = f"move that into a module of its own and name it by --keep-fp32{beside}{other}"
    return f"{low.precision} overflows first in {places[0]}{others}: {helps}", first


def _words(
    low: LowPrecisionGraph,
    failed: Sequence[StageResult],
    measure: Callable[[], LayerSensitivity],
    max_error: float | None,
) -> tuple[str, str] | None:
    """Return the modules with what each loses by itself and what keeping them leaves, and the path of the first; None
    if none loses anything.

    What float32 loses as well is no loss of the precision: the operators of a program are in none of its modules.
    """
    modules = low.lowered_modules
    try:
        lower, measured = floor_of(low), measure()
        if slices := lost_slices(failed, measured):
            measured = measured.of(slices)
        lost, whole = measured.of_each(lower, modules), measured.whole(lower)
        # a sum of errors is at most the sum of their sizes, so that the modules have lost no more than this
        if FLOAT32.budget < whole < math.inf and sum(lost.values()) < whole / 2:
            return IN_NO_MODULE, ""
        most = sorted((path for path in lost if lost[path] > FLOAT32.budget), key=lambda path: -lost[path])
        if not most:
            return None
        named = [path for path in most[:SHOWN] if lost[path] >= WORTH_NAMING * lost[most[0]]]
        row = LOWER[low.precision]
        budget = row.budget if max_error is None else max_error
        allowed = _allowed(failed, VARIATION if slices else "budget", whole, row.share if slices else budget)
        count = len(named) if allowed is None else measured.fewest_kept(lower, modules, most, allowed)
        is_shown = count <= min(len(most), MOST_KEPT)
        kept = most[:count] if is_shown else named
        left = f"PyTorch's own {low.precision} then loses {measured.without(lower, modules, kept):.2g} of {whole:.2g}"
    except Exception as error:  # the verdict stands whether or not they are found
        return f"{KEEP}; which modules lose most was not found ({type(error).__name__})", ""
    what = "most of this variation" if slices else "most"
    words = f"{what} is lost in {', '.join(f'{path} ({lost[path]:.2g} by itself)' for path in named)}"
    if is_shown:
        return f"{words}; {' '.join(f'--keep-fp32 {path}' for path in outermost(kept))}: {left}", most[0]
    enough = f"{count} of {len(modules)} modules are" if count <= len(most) else "not even all modules are"
    other = f"; --precision {AUTO} looks for another precision too" if low.precision in TRIED else ""
    return f"{words}; these alone are not enough, {left}: {enough}{other}", most[0]


def _allowed(failed: Sequence[StageResult], which: str, whole: float, limit: float) -> float | None:
    """Return how much PyTorch may lose on the cases it is measured on, which loses the ``whole`` there, so that the
    graph keeps the limit that it failed in this way; None if it failed otherwise."""
    worst = max((found.error for found in _failures(failed) if found.which == which), default=0.0)
    return limit * min(whole / worst, 1.0) if worst else None


def _failures(failed: Sequence[StageResult]) -> list[Comparison]:
    return [found for stage in failed for _, found in stage.comparisons if not found.passed]
