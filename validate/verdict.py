"""The verdict: every comparison, stage by stage, with its outcome; what could not be compared says why.

A stage ``passed``; ``passed, budget not kept by PyTorch's float32`` if its error is above the budget of float32, as
PyTorch's own is; ``passed against float32`` if float64 cannot run the module; was ``not checked``, as a whole or in
slices that are finite in no case; or ``failed``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from ..core import graph_io
from ..core.precision import FLOAT32, Precision
from ..core.tensor_spec import TensorSpec
from ..errors import InputError, Interrupted
from .cases import Case
from .error_map import ErrorMap, error_map, largest
from .metrics import GRAPH, PYTORCH, Comparison, Floor, Reference, compare, settled
from .place import Place
from .slices import Slices
from .stages.stage import LAYERS, Stage, read_stage

Feeds = dict[str, npt.NDArray[Any]]
Run = Callable[[Feeds], Mapping[str, npt.NDArray[Any]]]
# Made to reach what data seldom reaches: judged in units of PyTorch's own rounding, which may be large there. Whether
# a precision is good enough (the budget) is asked of ordinary inputs.
STRESS_KINDS = frozenset({"saturated", "flat", "level", "zeros", "hot_channel", "constant"})
Status = Literal[
    "passed",
    "passed, budget not kept by PyTorch's float32",
    "passed against float32",
    "built",
    "not checked",
    "failed",
]
PASSED: Status = "passed"
OVER_BUDGET: Status = "passed, budget not kept by PyTorch's float32"
AGAINST_FLOAT32: Status = "passed against float32"
# A compiler took the graph, and nothing was run: no number was judged, so that it is no pass.
BUILT: Status = "built"
NOT_CHECKED: Status = "not checked"
FAILED: Status = "failed"
STATUSES = (PASSED, OVER_BUDGET, AGAINST_FLOAT32, BUILT, NOT_CHECKED, FAILED)
INTERRUPTED = "interrupted"  # of a comparison: the runtime's process was killed or ran out of time
PASSES = (PASSED, OVER_BUDGET, AGAINST_FLOAT32)
# PyTorch's own float32 loses more than this of an ordinary input: whatever a graph computes would be in its floors.
MOST_LOST = 1e-3


@dataclass(frozen=True)
class StageResult:
    """One stage's outcome: every comparison with its case's name, and in ``why`` what failed or was not checked.

    ``was_interrupted`` says that a process was killed or ran out of time, which another run need not meet. ``place`` is
    where a stage that failed goes wrong, if that was found.
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
    def is_incomplete(self) -> bool:
        """True if the stage ran, and a part of what it gave could not be compared."""
        return self.status == NOT_CHECKED and bool(self.comparisons)

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
        return len({case for case, _ in self.comparisons})

    @property
    def top1(self) -> tuple[int, int]:
        """Return (rows with float64's best class, rows in which rounding cannot change it), over every (n, classes)
        output; (0, 0) if there is none."""
        found = [comparison for _, comparison in self.comparisons]
        return sum(one.agreeing_rows for one in found), sum(one.settled_rows for one in found)

    @property
    def smallest_failing(self) -> dict[str, int]:
        """Return the sizes of the failed case with the fewest elements; empty if nothing failed or no axis varies."""
        failing = [found.sizes for _, found in self.comparisons if not found.passed and found.sizes]
        return dict(sorted(failing, key=_volume)[0]) if failing else {}


@dataclass(frozen=True)
class Verdict:
    """Every stage's result, in the order of the stages.

    True if none failed or ran without being compared whole, at least one passed, and none by float32 alone, unless
    ``allows_float32``. ``source`` names whose float64 the truth is: PYTORCH or GRAPH.
    """

    stages: tuple[StageResult, ...]
    allows_float32: bool = False
    source: str = PYTORCH

    def __bool__(self) -> bool:
        return not self.objections and any(stage.has_passed for stage in self.stages)

    @property
    def objections(self) -> tuple[StageResult, ...]:
        """The stages that keep the verdict from being a pass, of those that ran."""
        return tuple(
            stage
            for stage in self.stages
            if stage.status == FAILED
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
    # The precision of layers is told by TensorRT's inspector: no output is compared.
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


def judge_case(
    run: Run,
    case: Case,
    reference: Reference,
    *,
    max_error: float | None = None,
    declared: Sequence[TensorSpec] = (),
    precision: Precision = FLOAT32,
    slices: Slices | None = None,
    io: str = graph_io.FLOAT32,
) -> tuple[tuple[str, Comparison], ...]:
    """Compare every output of one case with its reference, with the floors and allowances of the ``precision``.

    ``io`` is the type in which the graph takes and gives what is float32 in the case. An exception in ``run``, a
    missing output, and a shape that is not the ``declared`` one are failures. ``slices`` counts the outputs for what is
    judged over all cases.
    """
    sizes = tuple(case.sizes.items())
    try:
        outputs = run(graph_io.fed(case.feeds, io))
    except Exception as error:
        found = [did_not_run(name, error) for name in reference.outputs64]
    else:
        allowed = reference.at(precision)
        found = _compared(outputs, case, allowed, max_error, precision, io)
        if slices is not None:
            slices.add(reference, _settled(outputs, allowed), is_ordinary=case.kind not in STRESS_KINDS)
    found += _misdeclared(declared, case, reference)
    known: dict[str, Any] = {"sizes": sizes, "no_float64": reference.no_float64, "is_stress": case.kind in STRESS_KINDS}
    return tuple((case.name, replace(one, **known)) for one in found)


def _settled(outputs: Mapping[str, npt.NDArray[Any]], reference: Reference) -> dict[str, npt.NDArray[Any]]:
    truths, floors = reference.outputs64, reference.floors
    return {
        name: settled(np.asarray(value), truths[name], floors[name]) if name in truths else value
        for name, value in outputs.items()
    }


def _misdeclared(declared: Sequence[TensorSpec], case: Case, reference: Reference) -> Iterator[Comparison]:
    """The outputs whose declared sizes PyTorch's are not; a size that is an expression of axes is not evaluated."""
    for spec in declared:
        shape = reference.outputs64[spec.name].shape if spec.name in reference.outputs64 else spec.shape
        pairs = zip(spec.shape, shape, strict=False)
        said = [case.sizes.get(dim, actual) if isinstance(dim, str) else dim for dim, actual in pairs]
        if len(spec.shape) != len(shape) or tuple(said) != shape:
            yield _unmet(
                spec.name, "shape", f"the graph declares the shape {spec.shape}, {reference.source} returns {shape}"
            )


def _compared(
    outputs: Mapping[str, npt.NDArray[Any]],
    case: Case,
    reference: Reference,
    max_error: float | None,
    precision: Precision,
    io: str,
) -> list[Comparison]:
    found = []
    for name, truth in reference.outputs64.items():
        if name not in outputs:
            found.append(_unmet(name, "missing", f"no such output; received {', '.join(sorted(outputs)) or 'none'}"))
            continue
        floor, dtype = reference.floors[name], reference.outputs32[name].dtype
        dtype = np.dtype(io) if dtype == graph_io.FLOAT32 else dtype
        allowed: dict[str, Any] = {"precision": precision, "budget": _budget(case, floor, max_error, precision)}
        source = reference.source
        one = compare(name, outputs[name], truth, floor, reference.largest, dtype=dtype, source=source, **allowed)
        if precision is FLOAT32 and case.kind not in STRESS_KINDS:
            one = _by_own_loss(one, floor, FLOAT32.budget if max_error is None else max_error, source)
        judged = settled(np.asarray(outputs[name]), truth, floor)
        found.append(_with_map(one, judged, truth, floor, reference.moments))
    extra = sorted(set(outputs) - set(reference.outputs64))
    return [*found, *(_unmet(name, "missing", f"an output that {reference.source} does not have") for name in extra)]


def _with_map(
    found: Comparison, out: npt.NDArray[Any], truth: npt.NDArray[Any], floor: Floor, moments: dict[tuple[str, int], Any]
) -> Comparison:
    """Return the comparison with its error map; ``moments`` keeps the truth's largest number for the other stages."""
    key = (found.output, 0)  # slices are of later axes
    if key not in moments:
        moments[key] = largest(truth)
    shown = error_map(out, truth, found.worst_index, found.which, floor=floor.max, scale=moments[key])
    return found if shown is None else replace(found, error_map=shown)


def _by_own_loss(found: Comparison, floor: Floor, budget: float, source: str) -> Comparison:
    """Return a passed comparison of ordinary inputs in view of what the source's own float32 loses on them."""
    if not found.passed or found.which not in ("l2", "max", "channel"):
        return found
    if floor.l2 > MOST_LOST:
        detail = (
            f"{source}'s own float32 is off by {floor.l2:.2g} on ordinary inputs; above {MOST_LOST:g} no graph in "
            "float32 looks different from a wrong one"
        )
        return replace(found, passed=False, which="floor", detail=detail)
    return replace(found, over_budget=found.error > budget)


def _budget(case: Case, floor: Floor, max_error: float | None, precision: Precision) -> float:
    """Return the absolute error that is allowed.

    A model whose healthy runs, up to R floors from the truth, lose more than the default is judged in floors alone,
    unless the user asks for less. A lower precision has no such excuse: it was a choice.
    """
    if case.kind in STRESS_KINDS:
        return math.inf
    if max_error is not None:
        return max_error
    keeps_it = precision.healthy * floor.l2 <= precision.budget
    return precision.budget if precision is not FLOAT32 or keeps_it else math.inf


def did_not_run(name: str, error: Exception) -> Comparison:
    """Return the failed comparison of an output that a runtime did not give because of ``error``."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    which = INTERRUPTED if isinstance(error, Interrupted) else "raised"
    return _unmet(name, which, f"it did not run: {reason}")


def _unmet(name: str, which: str, detail: str) -> Comparison:
    return Comparison(name, math.inf, 0.0, math.inf, which, (), False, detail)
