"""``tune``: rewrite a bundle's graph to what is fastest in ONNX Runtime on this CPU, and judge it like any other.

The runtime's kernels and the machine decide which way to compute the same is faster. So it is measured here: for every
kind of place, the whole graph with and without each rewrite, in turn in one run.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..core.arguments import checked
from ..core.bundle import TUNED, Bundle, Folder
from ..core.extend import changing, free_name
from ..core.file_hashes import require_unchanged
from ..core.graph import OPSETS, OnnxGraph, save
from ..core.lock import owner
from ..core.manifest import MODEL
from ..core.progress import Progress, silent
from ..core.tensor_spec import optima
from ..engines.tensorrt.profiles import parse_profiles
from ..engines.timing import machine
from ..engines.timing.method import Method
from ..engines.timing.trials import Tuning
from ..errors import CheckFailed
from ..export.contract import check_contract
from ..export.precision import float32_source
from ..validate.missing_cases import require_cases
from ..validate.recorded import recorded_cases
from ..validate.stages.onnxruntime import judge_tuned_graph
from ..validate.verdict import StageResult, Verdict
from .report import extend_and_report

# Even, so that each graph is timed as often before the others as after them; of twelve the interval leaves out two at
# each end, so that a disturbed round does not decide.
METHOD = Method(seconds=1.5, iterations=12, rounds=12, warm_up_seconds=0.3, hot_share=0.0)
WORK = ".tuning.partial-"


class TunedBundle(NamedTuple):
    """A bundle, what was tried on it, and the verdict on the graph that was written; None if none was."""

    bundle: Bundle
    tuning: Tuning
    verdict: Verdict | None


@checked
def tune_bundle(
    bundle: Folder,
    *,
    at: str | None = None,
    threads: int | None = None,
    method: Method | None = None,
    progress: Progress | None = None,
) -> TunedBundle:
    """Try every rewrite of the float32 graph; the fastest graph becomes ``model.ort-cpu.onnx`` of the bundle.

    Killed at any moment, the bundle is whole.

    Args:
        bundle: The bundle's folder.
        at: The sizes to be fast at, ``batch=1,height=56``; the optimum of every axis that it leaves out.
        threads: The threads of ONNX Runtime; by default the physical cores.
        method: The rules of the clock.
        progress: Called with a line for every step.

    Returns:
        The bundle, what was tried, and the verdict on the graph that was written. If no rewrite is faster beyond doubt,
        the verdict is None and the bundle as it was.

    Raises:
        InputError: A size is outside of the bundle's ranges.
        CheckFailed: A file of the bundle has changed, or a rewrite computes something else.
        StorageError: Another command changes the bundle now, or has replaced it.
    """
    with changing(bundle) as opened:
        return _tuned(opened, _sizes(opened, at), threads, method or METHOD, progress or silent)


def _tuned(
    bundle: Bundle, sizes: Mapping[str, int], threads: int | None, method: Method, progress: Progress
) -> TunedBundle:
    """Tune a bundle that no other command changes, in a folder of scratch inside it."""
    count = machine.thread_count(threads)
    from .tune_search import Tuner

    progress("checking hashes")
    require_unchanged(bundle)
    require_cases(bundle)
    work = bundle.path / f"{WORK}{owner()}"
    work.mkdir()
    try:
        graph, tuning = Tuner(bundle, work, _start(bundle, work), sizes, count, method, progress).tune()
        if graph is None:
            return TunedBundle(bundle, tuning, None)
        progress("judging the tuned graph on the recorded cases")
        files = _named(bundle, graph)
        source = Verdict.from_json(bundle.manifest["verdict"]).source
        verdict = Verdict(tuple(_judged(bundle, files[0])), source=source)
        if verdict.first_failure is not None:
            raise CheckFailed(f"the tuned graph failed its verdict and was not kept: {verdict.first_failure.why}")
        if why := verdict.why_unjudged:
            raise CheckFailed(f"the tuned graph was not judged and was not kept: {why}; deploy the target again")
        return TunedBundle(_added(bundle, files, tuning, verdict, progress), tuning, verdict)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _start(bundle: Bundle, work: Path) -> Path:
    """Return the graph to rewrite: the bundle's or, if that is of an opset older than the rewrites, a raised copy.

    Raises InputError for a graph that cannot be raised.
    """
    if bundle.opset >= OPSETS.start:
        return bundle.model_path
    import onnx

    graph = OnnxGraph(bundle.model_path, bundle.opset, bundle.inputs, bundle.outputs)
    raised = work / "raised.onnx"
    onnx.save(float32_source(graph, OPSETS.start, who="tune"), str(raised))
    return raised


def _named(bundle: Bundle, graph: Path) -> list[Path]:
    """Return the graph, and the weights that lie beside it, under a name that the bundle does not list.

    It is written once more: weights beside a graph are found by the name that the graph gives.
    """
    import onnx_ir as ir

    name = free_name(TUNED, bundle.manifest["files"])
    return [graph.parent / file for file in save(ir.load(str(graph)), graph.parent / name)]


def _sizes(bundle: Bundle, at: str | None) -> dict[str, int]:
    """Return the size of every axis. Raises InputError for one outside of the bundle's ranges."""
    (profile,) = parse_profiles([] if at is None else [at], bundle.axes, option="--at")
    return optima(profile.axes)


def _judged(bundle: Bundle, graph: Path) -> list[StageResult]:
    """Judge a graph on the recorded cases. Raises CheckFailed if it breaks the contract of the bundle's graph."""
    opset = max(bundle.opset, OPSETS.start)
    written = OnnxGraph(graph, opset, bundle.inputs, bundle.outputs)
    check_contract(written, opset=opset, inputs=bundle.inputs, outputs=bundle.outputs, after="tuning")
    return [*judge_tuned_graph(bundle, graph, partial(recorded_cases, bundle))]


def _added(bundle: Bundle, files: Sequence[Path], tuning: Tuning, verdict: Verdict, note: Progress) -> Bundle:
    """Return the bundle with the graph, the first of the ``files``, and with its weights, in place of earlier ones."""
    for file in files:
        file.replace(bundle.path / file.name)
    graph, *weights = (file.name for file in files)
    entry = {
        "file": graph,
        "graph": str(bundle.manifest["files"][MODEL]["sha256"]),
        **tuning.to_json(),
        "verdict": verdict.to_json(),
    }
    roles = {graph: "graph, float32, rewritten for ONNX Runtime on the CPU"}
    others = dict.fromkeys(weights, "weights of the tuned graph")
    return extend_and_report(bundle, {**roles, **others}, {"tuned": entry}, note=note)
