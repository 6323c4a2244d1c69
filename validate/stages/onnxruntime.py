"""The stages that ONNX Runtime runs: each graph of a bundle on the CPU, the tuned one, and the GPU providers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.bundle import Bundle
from ...core.manifest import MODEL
from ...core.precision import FP32
from ...core.tensor_spec import TensorSpec
from ...engines.environment import ask_driver, try_provider
from ...engines.timing.runtimes import PROVIDERS, why_no_provider
from ..verdict import StageResult, not_checked
from .judge import Pairs, StageJudge, judge_stages, with_advice, with_place
from .ort_process import ON_GPU, is_optimised, start
from .stage import (
    ORT_CPU,
    ORT_TUNED,
    TUNED_GRAPH,
    WRITTEN,
    Stage,
    given_stages,
    lower_stages,
)

if TYPE_CHECKING:
    from ..localize import Location
    from ..own_choices import OwnChoices


def judge_graphs(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> list[StageResult]:
    """Judge every graph of the bundle on the CPU, then the rows of a batch in the one that the others are made of."""
    with ExitStack() as stack:
        judges = [
            StageJudge(
                stage,
                stack.enter_context(start(stage, bundle.model_path)),
                max_error,
                bundle.outputs,
                on_levels=bundle.has_own_levels and not is_optimised(stage),
            )
            for stage in given_stages(WRITTEN, bundle.precision)
        ]
        again = _own_choices(bundle, pairs, stack, max_error)
        written, *run = (
            judge.judged_again(result, bundle.model_path, again)
            for judge, result in zip(judges, judge_stages(judges, pairs()), strict=True)
        )
        if bundle.precision == FP32 and written.status != "failed":
            # Without PyTorch only the graph as it is written can say where the optimised one leaves it.
            run = [with_place(one, lambda names: _locate_without_pytorch(bundle, names, pairs)) for one in run]
        rows = judges[-1].rows(pairs())
        lower: list[StageResult] = []
        for precision in bundle.precisions:
            for stage in lower_stages(precision):
                graph = bundle.path / bundle.graphs[precision]
                with start(stage, graph) as runtime:
                    outputs, io = bundle.outputs_of(precision), bundle.io(precision)
                    on_levels = bundle.has_own_levels and not is_optimised(stage)
                    one = StageJudge(stage, runtime, max_error, outputs, io=io, on_levels=on_levels)
                    (result,) = judge_stages([one], pairs())
                    lower.append(with_advice(one.judged_again(result, graph, again)))
    return [written, *run, *lower, *rows]


def _own_choices(
    bundle: Bundle, pairs: Pairs, stack: ExitStack, max_error: float | None
) -> Callable[[], OwnChoices] | None:
    """Return what starts to judge stages with the choices of their graphs, once; None if there are none to judge."""
    if not bundle.has_own_levels and not any(case.get("choices") for case in bundle.manifest["cases"]):
        return None

    @functools.cache
    def begin() -> OwnChoices:
        from ..own_choices.bundle_runs import bundle_choices

        return stack.enter_context(bundle_choices(bundle, pairs(), max_error))

    return begin


def judge_tuned(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> list[StageResult]:
    """Judge the tuned graph; none if there is none. One that was made from another graph has failed."""
    entry, stage = bundle.tuned, Stage(ORT_TUNED, bundle.precision)
    if entry is None:
        return []
    if entry.get("graph") != bundle.manifest["files"][MODEL]["sha256"]:
        why = f"{entry['file']} was made from another graph; tune again"
        return [StageResult(stage, "failed", why)]
    graph = bundle.path / str(entry["file"])
    return judge_tuned_graph(graph, bundle.outputs, pairs, precision=bundle.precision, max_error=max_error)


def judge_tuned_graph(
    graph: Path,
    outputs: Sequence[TensorSpec],
    pairs: Pairs,
    *,
    precision: str = FP32,
    max_error: float | None = None,
) -> list[StageResult]:
    """Judge the file of a tuned graph, which computes in ``precision``."""
    stage = Stage(ORT_TUNED, precision)
    with start(stage, graph) as runtime:
        return StageJudge(stage, runtime, max_error, outputs).results(pairs)


def judge_graphs_for_plans(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> list[StageResult]:
    """Judge the graphs that were tuned for TensorRT; none if there is none. One of another graph has failed."""
    stages: list[StageResult] = []
    for entry in bundle.tuned_graphs:
        precision, stage = entry["precision"], Stage(TUNED_GRAPH[entry["flavour"]], entry["precision"])
        graph = bundle.graphs.get(precision)
        if graph is None or entry["graph"] != bundle.manifest["files"][graph]["sha256"]:
            stages.append(StageResult(stage, "failed", f"{entry['file']} was made from another graph; tune again"))
            continue
        stages += judge_graph_for_plan(bundle, bundle.path / entry["file"], stage, pairs, max_error=max_error)
    return stages


def judge_graph_for_plan(
    bundle: Bundle, graph: Path, stage: Stage, pairs: Pairs, *, max_error: float | None = None
) -> list[StageResult]:
    """Judge the file of a graph that was tuned for the TensorRT and in the precision of the ``stage``."""
    with start(stage, graph) as runtime:
        outputs, io = bundle.outputs_of(stage.precision), bundle.io(stage.precision)
        return judge_stages([StageJudge(stage, runtime, max_error, outputs, io=io)], pairs())


def judge_providers(bundle: Bundle, pairs: Pairs, *, max_error: float | None = None) -> Iterator[StageResult]:
    """Judge every graph in every GPU provider; none if there is no GPU.

    A provider whose libraries do not load is not checked, and says why; a graph that it does not run alone, without
    the CPU's kernels, has failed.
    """
    if not ask_driver().devices:
        return
    for runtime, name in ON_GPU.items():
        if why := why_no_provider(name) or try_provider(PROVIDERS[name]):
            yield not_checked(Stage(runtime), why)
            continue
        for precision, graph in bundle.graphs.items():
            stage = Stage(runtime, precision)
            with start(stage, bundle.path / graph) as process:
                outputs, io = bundle.outputs_of(precision), bundle.io(precision)
                yield from StageJudge(stage, process, max_error, outputs, is_here=True, io=io).results(pairs)


def _locate_without_pytorch(bundle: Bundle, names: Collection[str], pairs: Pairs) -> Location | None:
    from ..localize.between import Side, locate_between

    case, reference = min(
        ((case, reference) for case, reference in pairs() if case.name in names),
        key=lambda pair: math.prod(pair[0].sizes.values()),
    )
    plain, production = (
        Side(bundle.model_path, functools.partial(start, stage)) for stage in (Stage(WRITTEN), Stage(ORT_CPU))
    )
    return locate_between(plain, production, case, bundle.manifest.get("modules", {}), floors=reference.floors)
