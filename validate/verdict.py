"""What was compared, stage by stage, and whether it passed; what could not be compared says why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import numpy.typing as npt

from ..errors import InputError
from ..modules.target import TensorSpec
from .cases import Case
from .metrics import FLOAT32, Comparison, Floor, Precision, Reference, compare

Feeds = dict[str, npt.NDArray[Any]]
Run = Callable[[Feeds], Mapping[str, npt.NDArray[Any]]]
# Made to reach what data seldom reaches: judged in units of PyTorch's own rounding, which may be large there. Whether
# a precision is good enough (the budget) is asked of ordinary inputs.
STRESS_KINDS = frozenset({"saturated", "flat", "level", "zeros", "hot_channel", "constant"})
Status = Literal["passed", "failed", "not checked"]


@dataclass(frozen=True)
class StageResult:
    """One stage's outcome: every comparison with its case's name, and in ``why`` what failed or was not checked."""

    stage: str
    status: Status
    why: str = ""
    comparisons: tuple[tuple[str, Comparison], ...] = ()

    @property
    def worst_ratio(self) -> float:
        """The largest ratio, in floors; 0 where nothing was compared."""
        return max((found.ratio for _, found in self.comparisons), default=0.0)

    @property
    def worst_error(self) -> float:
        """The largest relative L2 error; NaN counts as the largest."""
        errors = [found.error for _, found in self.comparisons]
        return math.nan if any(map(math.isnan, errors)) else max(errors, default=0.0)

    @property
    def case_count(self) -> int:
        return len({case for case, _ in self.comparisons})

    @property
    def top1(self) -> tuple[int, int]:
        """(rows with the best class that float64 has, rows where rounding cannot change it), over every (n, classes)
        output; (0, 0) where there is none."""
        found = [comparison for _, comparison in self.comparisons]
        return sum(one.agreeing_rows for one in found), sum(one.settled_rows for one in found)

    @property
    def smallest_failing(self) -> dict[str, int]:
        """The sizes of the failed case with the fewest elements; empty where nothing failed or no axis is dynamic."""
        failing = [found.sizes for _, found in self.comparisons if not found.passed and found.sizes]
        return dict(sorted(failing, key=_volume)[0]) if failing else {}


@dataclass(frozen=True)
class Verdict:
    """Every stage's result, in the order of the stages. True when none failed and at least one passed."""

    stages: tuple[StageResult, ...]

    def __bool__(self) -> bool:
        return self.first_failure is None and any(stage.status == "passed" for stage in self.stages)

    @property
    def first_failure(self) -> StageResult | None:
        return next((stage for stage in self.stages if stage.status == "failed"), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file; numbers that JSON has no word for are strings ("inf", "nan")."""
        return {
            "passed": bool(self),
            "stages": [
                {
                    "stage": stage.stage,
                    "status": stage.status,
                    "why": stage.why,
                    "comparisons": [
                        {"case": case}
                        | {key: _plain(value) for key, value in asdict(found).items()}
                        | {"sizes": dict(found.sizes)}
                        for case, found in stage.comparisons
                    ],
                }
                for stage in self.stages
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Verdict:
        """Raise InputError where the document is not what ``to_json`` writes."""
        try:
            return cls(tuple(_stage(entry) for entry in document["stages"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"received a verdict that cannot be read ({error!r}); export the bundle again") from None


def _volume(sizes: tuple[tuple[str, int], ...]) -> tuple[int, tuple[int, ...]]:
    values = tuple(size for _, size in sizes)
    return math.prod(values), values


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _stage(entry: Mapping[str, Any]) -> StageResult:
    status = entry["status"]
    if status not in ("passed", "failed", "not checked"):
        raise ValueError(f"status {status!r}")
    found = tuple((str(part["case"]), _comparison(part)) for part in entry["comparisons"])
    if status == "passed" and not (found and all(comparison.passed for _, comparison in found)):
        raise ValueError(f"stage {entry['stage']!r} passed without comparisons that did")
    return StageResult(str(entry["stage"]), cast(Status, status), str(entry["why"]), found)


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
    )


def not_checked(stage: str, why: str) -> StageResult:
    """A stage that could not run here. Never a pass, always printed."""
    return StageResult(stage, "not checked", why)


def stage_result(stage: str, comparisons: Iterable[tuple[str, Comparison]], why: str = "") -> StageResult:
    """Passed when every comparison passed and there is one; ``why`` then stays as it is.

    Failed, ``why`` names the worst comparison and the smallest failing shape.
    """
    found = tuple(comparisons)
    if not found:
        return not_checked(stage, why or "no case was given")
    failed = [(case, comparison) for case, comparison in found if not comparison.passed]
    if failed:
        case, worst = max(failed, key=lambda pair: pair[1].ratio)
        more = f" ({len(failed)} of {len(found)} comparisons failed)" if len(found) > 1 else ""
        result = StageResult(stage, "failed", f"case {case}, output {worst.output}: {worst.detail}{more}", found)
        smallest = ", ".join(f"{name}={size}" for name, size in result.smallest_failing.items())
        return replace(result, why=f"{result.why}; smallest failing shape {smallest}") if smallest else result
    return StageResult(stage, "passed", why, found)


def judge_case(
    run: Run,
    case: Case,
    reference: Reference,
    *,
    max_error: float | None = None,
    declared: Sequence[TensorSpec] = (),
    precision: Precision = FLOAT32,
) -> tuple[tuple[str, Comparison], ...]:
    """Every output of one case against its reference, with the floors and allowances of the ``precision``.

    An exception in ``run``, a missing output, and a shape that is not the ``declared`` one are failures.
    """
    sizes = tuple(case.sizes.items())
    found = [
        *_compared(run, case, reference.at(precision), max_error, precision),
        *_misdeclared(declared, case, reference),
    ]
    return tuple((case.name, replace(one, sizes=sizes)) for one in found)


def _misdeclared(declared: Sequence[TensorSpec], case: Case, reference: Reference) -> Iterator[Comparison]:
    """The outputs whose declared sizes PyTorch's are not; a size that is an expression of axes is not evaluated."""
    for spec in declared:
        shape = reference.outputs64[spec.name].shape if spec.name in reference.outputs64 else spec.shape
        pairs = zip(spec.shape, shape, strict=False)
        said = [case.sizes.get(dim, actual) if isinstance(dim, str) else dim for dim, actual in pairs]
        if len(spec.shape) != len(shape) or tuple(said) != shape:
            yield _unmet(spec.name, "shape", f"the graph declares the shape {spec.shape}, PyTorch returns {shape}")


def _compared(
    run: Run, case: Case, reference: Reference, max_error: float | None, precision: Precision
) -> list[Comparison]:
    try:
        outputs = run(case.feeds)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return [_unmet(name, "raised", f"it did not run: {reason}") for name in reference.outputs64]
    found = []
    for name, truth in reference.outputs64.items():
        if name not in outputs:
            found.append(_unmet(name, "missing", f"no such output; received {', '.join(sorted(outputs)) or 'none'}"))
            continue
        floor, dtype = reference.floors[name], reference.outputs32[name].dtype
        allowed: dict[str, Any] = {"precision": precision, "budget": _budget(case, floor, max_error, precision)}
        found.append(compare(name, outputs[name], truth, floor, reference.largest, dtype=dtype, **allowed))
    extra = sorted(set(outputs) - set(reference.outputs64))
    return [*found, *(_unmet(name, "missing", "an output that PyTorch does not have") for name in extra)]


def _budget(case: Case, floor: Floor, max_error: float | None, precision: Precision) -> float:
    """The absolute error that is allowed: a model whose healthy runs, up to R floors from the truth, lose more than the
    default is judged in floors alone, unless the user asks for less. A half precision has no such excuse: it was a
    choice."""
    if case.kind in STRESS_KINDS:
        return math.inf
    if max_error is not None:
        return max_error
    keeps_it = precision.healthy * floor.l2 <= precision.budget
    return precision.budget if precision is not FLOAT32 or keeps_it else math.inf


def _unmet(name: str, which: str, detail: str) -> Comparison:
    return Comparison(name, math.inf, 0.0, math.inf, which, (), False, detail)


def judge(
    stage: str,
    run: Run,
    cases: Iterable[tuple[Case, Reference]],
    *,
    max_error: float | None = None,
    precision: Precision = FLOAT32,
) -> StageResult:
    """Run every case and compare every output. No case at all is "not checked"."""
    return judge_all({stage: run}, cases, max_error=max_error, precision=precision)[0]


def judge_all(
    runs: Mapping[str, Run],
    cases: Iterable[tuple[Case, Reference]],
    *,
    max_error: float | None = None,
    declared: Sequence[TensorSpec] = (),
    precision: Precision = FLOAT32,
) -> list[StageResult]:
    """``judge`` for several stages (name -> run) in one pass over the cases, so that no reference is kept or redone."""
    found: dict[str, list[tuple[str, Comparison]]] = {stage: [] for stage in runs}
    for case, reference in cases:
        for stage, run in runs.items():
            allowed: dict[str, Any] = {"max_error": max_error, "declared": declared, "precision": precision}
            found[stage] += judge_case(run, case, reference, **allowed)
    return [stage_result(stage, comparisons) for stage, comparisons in found.items()]
