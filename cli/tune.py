"""``attn2trt tune``: a bundle's graph rewritten to what ONNX Runtime runs fastest on this CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from .options import bundle_argument, output_options
from .output import print_json, print_lines, print_rich, stages


@click.command("tune")
@bundle_argument
@click.option("--at", metavar="AXES", help="Sizes to be fast at, batch=1,height=56 (default: each axis's optimum).")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads (default: the physical cores).")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=1.5,
    show_default=True,
    help="Shortest time for each graph in each comparison.",
)
@output_options
def command(bundle: Path, at: str | None, threads: int | None, seconds: float, as_json: bool) -> int:
    """Rewrite the graph of BUNDLE to run fastest on this CPU.

    The runtime is ONNX Runtime; no PyTorch is needed.

    Every rewrite is exact in real arithmetic; each is timed, what is faster is kept, and the result is judged on the
    recorded cases before it becomes part of the bundle as model.ort-cpu.onnx. Nothing else should run meanwhile.
    """
    from ..workflows.tune import METHOD, tune_bundle

    method = replace(METHOD, seconds=seconds, max_seconds=max(METHOD.max_seconds, seconds))
    with stages() as progress:
        found, tuning, verdict = tune_bundle(bundle, at=at, threads=threads, method=method, progress=progress)
    file = None if found.tuned is None or verdict is None else found.path / str(found.tuned["file"])
    if as_json:
        judged = None if verdict is None else verdict.to_json()
        print_json({"path": str(found.path), "graph": file, "tuning": tuning.to_json(), "verdict": judged})
        return 0
    from ..report.table import verdict_table
    from ..report.tuning_table import tuning_table

    print_rich(tuning_table(found.name, tuning))
    if file is not None and verdict is not None:
        print_rich(verdict_table(verdict))
        print_lines(f"graph    {file}\nnext     attn2trt benchmark {found.path}   it beside the others")
    return 0
