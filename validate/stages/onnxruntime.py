"""The stages that ONNX Runtime runs: each graph of a bundle on the CPU, the tuned one, and the GPU providers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.bundle import Bundle
from ...core.computed_in import has_its_type
from ...core.precision import FP32, PRECISIONS
from ..verdict import FAILED, StageResult
from .judge import Pairs, Runtime, StageJudge, judge_stages, with_advice, with_place
from .of_bundle import BundleRuntime, providers, tuned, tuned_for_plans
from .ort_process import is_optimised, start
from .stage import ORT_CPU, ORT_TUNED, WRITTEN, Stage, given_stages, lower_stages

if TYPE_CHECKING:
    from ..localize import Location
    from ..own_choices import OwnChoices


def judge_graphs(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> list[StageResult]:
    """Judge every graph of the bundle on the CPU, then the rows of a batch in the one that the others are made of."""
    with ExitStack() as stack:
        stages = given_stages(WRITTEN, bundle.precision)
        judges = [_own(bundle, one, stack.enter_context(start(one, bundle.model_path)), max_error) for one in stages]
        again = _own_choices(bundle, pairs, stack, max_error)
        written, *run = (
            judge.judged_again(result, bundle.model_path, again)
            for judge, result in zip(judges, judge_stages(judges, pairs()), strict=True)
        )
        if bundle.precision == FP32 and written.status != FAILED:
            # Without PyTorch only the graph as it is written can say where the optimised one leaves it.
            run = [with_place(one, lambda names: _locate_without_pytorch(bundle, names, pairs)) for one in run]
        rows = judges[-1].rows(pairs())
        lower: list[StageResult] = []
        for precision in bundle.precisions:
            graph = bundle.path / bundle.graphs[precision]
            for stage in lower_stages(precision):
                with start(stage, graph) as runtime:
                    judge = _own(bundle, stage, runtime, max_error)
                    (result,) = judge_stages([judge], pairs())
                    advised = with_advice(judge.judged_again(result, graph, again), of_file=bundle.is_of_file)
                    lower.append(_of_its_type(advised, graph))
    return [written, *run, *lower, *rows]


def _of_its_type(result: StageResult, graph: Path) -> StageResult:
    """Return the stage, failed if its graph is right for the reason that it is not in this precision at all."""
    precision = result.stage.precision
    if not result.has_passed or has_its_type(graph, precision):
        return result
    why = f"{graph.name} has nothing in {PRECISIONS[precision].words}: it is another graph; deploy the target again"
    return replace(result, status=FAILED, why=why)


def _own(
    bundle: Bundle, stage: Stage, runtime: Runtime, max_error: float | None, *, is_here: bool = False
) -> StageJudge:
    """Return the judge of a graph of the bundle; ``runtime`` runs it."""
    outputs, io = bundle.outputs_of(stage.precision), bundle.io(stage.precision)
    on_levels = bundle.has_own_levels and not is_optimised(stage)
    return StageJudge(stage, runtime, max_error, outputs, is_here=is_here, io=io, on_levels=on_levels)


def _own_choices(
    bundle: Bundle, pairs: Pairs, stack: ExitStack, max_error: float | None
) -> Callable[[], OwnChoices] | None:
    """Return what starts to judge stages with the choices of their graphs, once; None if there are none to judge."""
    if not bundle.has_own_levels and not any(case.get("choices") for case in bundle.manifest["cases"]):
        return None

    @cache
    def begin() -> OwnChoices:
        from ..own_choices.bundle_runs import bundle_choices

        return stack.enter_context(bundle_choices(bundle, pairs(), max_error))

    return begin


def judge_tuned(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> Iterator[StageResult]:
    """Judge the tuned graph; none if there is none. One that was made from another graph has failed."""
    return _judged(bundle, tuned(bundle), pairs, max_error)


def judge_tuned_graph(bundle: Bundle, graph: Path, pairs: Pairs) -> Iterator[StageResult]:
    """Judge the file of a graph that was tuned for ONNX Runtime."""
    stage = Stage(ORT_TUNED, bundle.precision)
    return _judged(bundle, [BundleRuntime.of_graph(stage, graph)], pairs)


def judge_graphs_for_plans(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> Iterator[StageResult]:
    """Judge the graphs that were tuned for TensorRT; none if there is none. One of another graph has failed."""
    return _judged(bundle, tuned_for_plans(bundle), pairs, max_error, has_rows=False)


def judge_graph_for_plan(bundle: Bundle, graph: Path, stage: Stage, pairs: Pairs) -> Iterator[StageResult]:
    """Judge the file of a graph that was tuned for the TensorRT and in the precision of the ``stage``."""
    return _judged(bundle, [BundleRuntime.of_graph(stage, graph)], pairs, has_rows=False)


def judge_providers(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> Iterator[StageResult]:
    """Judge every graph in every GPU provider; none if there is no GPU.

    A provider whose libraries do not load is not checked, and says why; a graph that it does not run alone, without
    the CPU's kernels, has failed.
    """
    return _judged(bundle, providers(bundle), pairs, max_error)


def _judged(
    bundle: Bundle,
    runtimes: Iterable[BundleRuntime],
    pairs: Pairs,
    max_error: float | None = None,
    *,
    has_rows: bool = True,
) -> Iterator[StageResult]:
    """Judge runtimes one after the other, then the rows of a batch in each that ``has_rows``."""
    with ExitStack() as stack:
        again = _own_choices(bundle, pairs, stack, max_error)
        for one in runtimes:
            if one.start is None or one.graph is None:
                yield one.not_run
                continue
            with one.start() as process:
                judge = _own(bundle, one.stage, process, max_error, is_here=one.is_here)
                result, *rows = judge.results(pairs) if has_rows else judge_stages([judge], pairs())
                yield _of_its_type(judge.judged_again(result, one.graph, again), one.graph)
                yield from rows


def _locate_without_pytorch(bundle: Bundle, names: Collection[str], pairs: Pairs) -> Location | None:
    from ..localize.between import Side, locate_between

    case, reference = min(
        ((case, reference) for case, reference in pairs() if case.name in names),
        key=lambda pair: math.prod(pair[0].sizes.values()),
    )
    plain, production = (Side(bundle.model_path, partial(start, stage)) for stage in (Stage(WRITTEN), Stage(ORT_CPU)))
    return locate_between(plain, production, case, bundle.manifest.get("modules", {}), floors=reference.floors)
