"""The verdict: every comparison, stage by stage, with its outcome; what could not be compared says why.

A stage ``passed``; ``passed, budget not kept by PyTorch's float32`` if its error is above the budget of float32, as
PyTorch's own is; ``passed against float32`` if float64 cannot run the module; was ``not checked``, as a whole or in
slices that are finite in no case; or ``failed``. A precision that was asked for, and that no graph can be made or
judged in, was ``refused``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

from ..core.precision import FP32, PRECISIONS
from ..errors import InputError
from .comparison import Comparison
from .error_map import ErrorMap
from .metrics import GRAPH, PYTORCH
from .place import Place
from .slices import ORDINARY
from .stages.stage import LAYERS, VALUES, Stage, read_stage

Status = Literal[
    "passed",
    "passed, budget not kept by PyTorch's float32",
    "passed against float32",
    "built",
    "not checked",
    "refused",
    "failed",
]
PASSED: Status = "passed"
OVER_BUDGET: Status = "passed, budget not kept by PyTorch's float32"
AGAINST_FLOAT32: Status = "passed against float32"
# A compiler took the graph, and nothing was run: no number was judged, so that it is no pass.
BUILT: Status = "built"
NOT_CHECKED: Status = "not checked"
# It was asked for, and this model has none: never a pass of what was asked for.
REFUSED: Status = "refused"
FAILED: Status = "failed"
STATUSES = (PASSED, OVER_BUDGET, AGAINST_FLOAT32, BUILT, NOT_CHECKED, REFUSED, FAILED)
# The beginning of a note: the graph's choices were given to the truth, so that nothing was left out for near ties.
OWN_PICKS = "compared with the graph's own picks"
OWN_LEVELS = "compared on the graph's own levels"
INTERRUPTED = "interrupted"  # of a comparison: the runtime's process was killed or ran out of time
_FORMS = frozenset({"shape", "dtype", "missing", "raised", INTERRUPTED})
PASSES = (PASSED, OVER_BUDGET, AGAINST_FLOAT32)


@dataclass(frozen=True)
class StageResult:
    """One stage's outcome.

    Attributes:
        stage: The stage.
        status: Passed, failed, built, not checked or refused.
        why: What failed, or why it was not checked.
        comparisons: Every comparison with its case's name.
        was_interrupted: A process was killed or ran out of time, which another run need not meet.
        place: The place at which a stage that failed goes wrong, if that was found.
    """

    stage: Stage
    status: Status
    why: str = ""
    comparisons: tuple[tuple[str, Comparison], ...] = ()
    was_interrupted: bool = False
    place: Place | None = None

    @property
    def label(self) -> str:
        """The name of the stage."""
        return self.stage.label

    @property
    def has_passed(self) -> bool:
        """True for each of the three kinds of a pass."""
        return self.status in PASSES

    @property
    def has_own_picks(self) -> bool:
        """True if the truth was computed with the choices of the graph, and every element compared."""
        return OWN_PICKS in self.why or OWN_LEVELS in self.why

    @property
    def compared_in(self) -> str:
        """The precision whose floors and limit were asked: of a stage on its own levels that between them."""
        own = self.stage.precision or FP32
        return PRECISIONS[own].rest if OWN_LEVELS in self.why else own

    @property
    def is_incomplete(self) -> bool:
        """True if the stage ran, and a part of what it gave could not be compared."""
        return self.status == NOT_CHECKED and bool(self.comparisons)

    @property
    def has_wrong_numbers(self) -> bool:
        """True if an output has wrong numbers, and not only another form, or none at all."""
        return any(not found.passed and found.which not in _FORMS for _, found in self.comparisons)

    @property
    def loses_too_much(self) -> bool:
        """True if it fails by the budget of its precision alone: the numbers are right, and have too few bits."""
        failed = {found.which for _, found in self.comparisons if not found.passed}
        return self.stage.precision != FP32 and failed == {"budget"}

    @property
    def worst_ratio(self) -> float:
        """Return the largest ratio, in floors; 0 if nothing was compared."""
        return max((found.ratio for _, found in self.comparisons), default=0.0)

    @property
    def worst_error(self) -> float:
        """The largest relative L2 error on ordinary inputs, or on all if none is; NaN counts as the largest."""
        ordinary = [found.error for _, found in self.comparisons if not found.is_stress]
        return _largest(ordinary or [found.error for _, found in self.comparisons])

    @property
    def worst_stress_error(self) -> float:
        """The largest relative L2 error on inputs made to reach what data seldom reaches; 0 without any."""
        return _largest([found.error for _, found in self.comparisons if found.is_stress])

    @property
    def case_count(self) -> int:
        """The number of cases that were compared; what slices lose over all ordinary ones is none of its own."""
        return len({case for case, _ in self.comparisons} - {ORDINARY})

    @property
    def smallest_failing(self) -> dict[str, int]:
        """Return the sizes of the failed case with the fewest elements; empty if nothing failed or no axis varies."""
        failing = [found.sizes for _, found in self.comparisons if not found.passed and found.sizes]
        smallest = min(failing, key=_volume, default=())
        return dict(smallest)


@dataclass(frozen=True)
class Verdict:
    """Every stage's result. It is true, a pass, if one stage passed and none objects.

    A stage objects if it failed, was refused, ran without being compared whole, or passed by float32 alone.

    Attributes:
        stages: The results, in the order of the stages.
        allows_float32: A stage may pass by float32 alone.
        source: Whose float64 the truth is: PYTORCH or GRAPH.
    """

    stages: tuple[StageResult, ...]
    allows_float32: bool = False
    source: str = PYTORCH

    def __str__(self) -> str:
        """Return the result, then each stage with its status on a line of its own."""
        lines = (f"{one.stage}: {one.status}{f', {one.why}' if one.why else ''}" for one in self.stages)
        return "\n".join(["passed" if self else "not passed", *lines])

    def is_whole(self, words: str) -> bool:
        """Return True if no stage of the precision of these ``words`` left anything out for near ties."""
        values = [one for one in self.stages if one.comparisons and one.stage.kind == VALUES and one.stage.precision]
        own = [one for one in values if PRECISIONS[one.stage.precision].words == words]
        return bool(own) and all(one.has_own_picks for one in own)

    def __bool__(self) -> bool:
        return not self.objections and any(stage.has_passed for stage in self.stages)

    @property
    def objections(self) -> tuple[StageResult, ...]:
        """The stages that keep the verdict from being a pass: of those that ran, and of those that were refused."""
        return tuple(
            stage
            for stage in self.stages
            if stage.status in (FAILED, REFUSED)
            or stage.is_incomplete
            or (stage.status == AGAINST_FLOAT32 and not self.allows_float32)
        )

    @property
    def was_interrupted(self) -> bool:
        """True if another run may come to another verdict on the same graphs."""
        return any(stage.was_interrupted for stage in self.stages)

    @property
    def first_failure(self) -> StageResult | None:
        return next((stage for stage in self.stages if stage.status == FAILED), None)

    @property
    def why_unjudged(self) -> str:
        """The reason if no stage passed, or one that ran could not be compared whole; "" if there is none."""
        left = [stage for stage in self.stages if stage.is_incomplete]
        if not left and any(stage.has_passed for stage in self.stages):
            return ""
        return next((stage.why for stage in (*left, *self.stages) if stage.why), "no stage ran it")

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file; numbers that JSON has no word for are strings ("inf", "nan")."""
        return {
            "passed": bool(self),
            "allows_float32_truth": self.allows_float32,
            **({"source": self.source} if self.source != PYTORCH else {}),
            "stages": [
                {
                    **stage.stage.to_json(),
                    "status": stage.status,
                    "why": stage.why,
                    **({"interrupted": True} if stage.was_interrupted else {}),
                    **({} if stage.place is None else {"place": stage.place.to_json()}),
                    "comparisons": [{"case": case, **_comparison_json(found)} for case, found in stage.comparisons],
                }
                for stage in self.stages
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Verdict:
        """Raise InputError if the document is not what ``to_json`` writes."""
        try:
            stages = tuple(_stage(entry) for entry in document["stages"])
            source = GRAPH if document.get("source") == GRAPH else PYTORCH
            return cls(stages, document.get("allows_float32_truth") is True, source)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"received a verdict that cannot be read ({error!r}); export the bundle again") from None


def _largest(errors: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, errors)) else max(errors, default=0.0)


def _comparison_json(found: Comparison) -> dict[str, Any]:
    plain = {key: _plain(value) for key, value in asdict(replace(found, error_map=None)).items()}
    del plain["error_map"]
    where = {} if found.error_map is None else {"error_map": found.error_map.to_json()}
    return {**plain, "sizes": dict(found.sizes), **where}


def _volume(sizes: tuple[tuple[str, int], ...]) -> tuple[int, tuple[int, ...]]:
    values = tuple(size for _, size in sizes)
    return math.prod(values), values


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _stage(entry: Mapping[str, Any]) -> StageResult:
    status = entry["status"]
    if status not in STATUSES:
        raise ValueError(f"status {status!r}")
    found = tuple((str(part["case"]), _comparison(part)) for part in entry["comparisons"])
    stage = read_stage(entry)
    # TensorRT's inspector gives the precision of layers: no output is compared.
    compares = stage.kind != LAYERS or bool(found)
    if status in PASSES and compares and not (found and all(comparison.passed for _, comparison in found)):
        raise ValueError(f"stage {entry['stage']!r} passed without comparisons that did")
    interrupted = entry.get("interrupted") is True
    place = None if entry.get("place") is None else Place.from_json(entry["place"])
    return StageResult(stage, cast(Status, status), str(entry["why"]), found, interrupted, place)


def _comparison(part: Mapping[str, Any]) -> Comparison:
    return Comparison(
        output=str(part["output"]),
        error=float(part["error"]),
        floor=float(part["floor"]),
        ratio=float(part["ratio"]),
        which=str(part["which"]),
        worst_index=tuple(int(index) for index in part["worst_index"]),
        passed=part["passed"] is True,
        detail=str(part["detail"]),
        # Verdicts of older bundles have none of these.
        settled_rows=int(part.get("settled_rows", 0)),
        agreeing_rows=int(part.get("agreeing_rows", 0)),
        sizes=tuple((str(name), int(size)) for name, size in part.get("sizes", {}).items()),
        over_budget=part.get("over_budget") is True,
        is_stress=part.get("is_stress") is True,
        no_float64=str(part.get("no_float64", "")),
        error_map=None if part.get("error_map") is None else ErrorMap.from_json(part["error_map"]),
    )


def built(stage: Stage, why: str) -> StageResult:
    """A graph that a compiler parsed and built, and that was not run. No number was judged: never a pass."""
    return StageResult(stage, BUILT, why)


def not_checked(stage: Stage, why: str) -> StageResult:
    """A stage that could not run here. Never a pass, always printed."""
    return StageResult(stage, NOT_CHECKED, why)


def refused(stage: Stage, why: str) -> StageResult:
    """A precision that was asked for, and that this model cannot be written or judged in."""
    return StageResult(stage, REFUSED, why)


def stage_result(
    stage: Stage, comparisons: Iterable[tuple[str, Comparison]], why: str = "", *, unchecked: Sequence[str] = ()
) -> StageResult:
    """Return the outcome of comparisons: the worst of their own, and "not checked" if there is none.

    Failed, ``why`` names the worst comparison and the smallest failing shape. ``unchecked`` says what was not compared
    though the stage ran.
    """
    found = _with_one_map(comparisons)
    if not found:
        return not_checked(stage, why or "no case was given")
    failed = [(case, comparison) for case, comparison in found if not comparison.passed]
    if failed:
        case, worst = max(failed, key=lambda pair: pair[1].ratio)
        more = f" ({len(failed)} of {len(found)} comparisons failed)" if len(found) > 1 else ""
        interrupted = any(one.which == INTERRUPTED for _, one in failed)
        why = f"case {case}, output {worst.output}: {worst.detail}{more}"
        result = StageResult(stage, FAILED, why, found, interrupted)
        smallest = ", ".join(f"{name}={size}" for name, size in result.smallest_failing.items())
        return replace(result, why=f"{result.why}; smallest failing shape {smallest}") if smallest else result
    if unchecked:
        return StageResult(stage, NOT_CHECKED, "; ".join([*filter(None, [why]), *unchecked]), found)
    return StageResult(stage, _kind_of_pass(found), "; ".join(filter(None, [why, _no_float64(found)])), found)


def _with_one_map(comparisons: Iterable[tuple[str, Comparison]]) -> tuple[tuple[str, Comparison], ...]:
    """Return the comparisons, with the error map of the worst alone: of the failed ones if any did."""
    found = list(comparisons)
    places = [place for place, (_, one) in enumerate(found) if one.error_map is not None]
    kept = max(places, key=lambda place: (not found[place][1].passed, found[place][1].ratio), default=None)
    return tuple(
        (case, one if place == kept or one.error_map is None else replace(one, error_map=None))
        for place, (case, one) in enumerate(found)
    )


def _kind_of_pass(found: Sequence[tuple[str, Comparison]]) -> Status:
    if _no_float64(found):
        return AGAINST_FLOAT32
    return OVER_BUDGET if any(comparison.over_budget for _, comparison in found) else PASSED


def _no_float64(found: Sequence[tuple[str, Comparison]]) -> str:
    reasons = [f"float64 cannot run case {case}: {one.no_float64}" for case, one in found if one.no_float64]
    return reasons[0] if reasons else ""
