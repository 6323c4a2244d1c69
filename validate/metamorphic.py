"""Checks that need no truth: what a batch's rows must have to do with each other, and a run with its repetition.

A runtime may choose another kernel for another batch, so rows are equal when they lie within the limit of the floor.
They apply to the outputs whose rows are independent in float64 PyTorch, as the reference recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .cases import Case
from .metrics import Comparison, Floor, Reference, compare
from .verdict import Feeds, Run, StageResult, not_checked, stage_result

Array = npt.NDArray[Any]
Outputs = Mapping[str, Array]
STAGE = "metamorphic"


def metamorphic(run: Run, cases: Iterable[tuple[Case, Reference]], *, stage: str = STAGE) -> StageResult:
    """Judge the smallest case with two rows or more that the references allow; "not checked" where there is none.

    A run that repeats itself within the floor but not bit for bit passes, and ``why`` says that it is not
    deterministic.
    """
    chosen = _smallest(cases)
    if chosen is None:
        return not_checked(stage, "no case has a batch of two or more whose rows PyTorch keeps apart")
    case, reference = chosen
    try:
        found = list(_checks(run, case, reference))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        found = [(case.name, Comparison("", np.inf, 0.0, np.inf, "raised", (), False, f"it did not run: {reason}"))]
    differing = any(name == "second run" and comparison.error > 0 for name, comparison in found)
    return stage_result(stage, found, "not deterministic: a second run differs in its last bits" if differing else "")


def _smallest(cases: Iterable[tuple[Case, Reference]]) -> tuple[Case, Reference] | None:
    best: tuple[int, Case, Reference] | None = None
    for case, reference in cases:
        rows = _rows(reference)
        if rows < 2 or not case.row_inputs:
            continue
        size = sum(value.size for value in reference.outputs64.values()) * rows
        if best is None or size < best[0]:
            best = size, case, reference
    return best[1:] if best else None


def _rows(reference: Reference) -> int:
    return reference.outputs64[reference.row_outputs[0]].shape[0] if reference.row_outputs else 0


def _checks(run: Run, case: Case, reference: Reference) -> Iterator[tuple[str, Comparison]]:
    feeds, rows = case.feeds, _rows(reference)
    batch = run(feeds)
    judge = _judge(reference)
    yield from judge("second run", run(feeds), batch, reference.outputs64)
    alone = [run(_take(feeds, case, [row])) for row in range(rows)]
    joined = {name: np.concatenate([one[name] for one in alone]) for name in reference.row_outputs}
    yield from judge("rows alone", joined, batch, joined)
    order = np.roll(np.arange(rows), 1)
    permuted = run(_take(feeds, case, order))
    yield from judge("permuted rows", permuted, {name: batch[name][order] for name in reference.row_outputs}, joined)
    same = [0] * rows
    identical = run(_take(feeds, case, same))
    yield from judge("identical rows", identical, {name: batch[name][same] for name in reference.row_outputs}, joined)


def _take(feeds: Feeds, case: Case, rows: Any) -> Feeds:
    return {name: value[rows] if name in case.row_inputs else value for name, value in feeds.items()}


def _judge(reference: Reference) -> Callable[[str, Outputs, Outputs, Outputs], Iterator[tuple[str, Comparison]]]:
    def judge(check: str, outputs: Outputs, expected: Outputs, names: Outputs) -> Iterator[tuple[str, Comparison]]:
        for name in names:
            floor: Floor = reference.floors[name]
            truth = np.asarray(expected[name])
            wide = truth.astype(np.float64) if truth.dtype.kind == "f" else truth
            # No budget of its own: both sides are this runtime's, and its distance from the truth is judged elsewhere.
            yield check, compare(name, outputs[name], wide, floor, reference.largest, budget=np.inf, dtype=truth.dtype)

    return judge
