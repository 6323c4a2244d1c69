"""``attn2trt tune``: a bundle's graph rewritten to what a runtime of this machine runs fastest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.command_line import quoted
from ..core.precision import PRECISIONS
from ..engines.tensorrt.flavours import FLAVOURS
from ..errors import InputError
from .builder_options import builder_options
from .options import bundle_argument, output_options
from .output import print_json, print_lines, print_rich, stages
from .parameters import AnyPath, Number

if TYPE_CHECKING:
    from ..engines.timing.method import Method
    from ..workflows.tune import TunedBundle

ORT_CPU = "ort-cpu"


@click.command("tune")
@bundle_argument
@click.option(
    "--runtime",
    type=click.Choice([ORT_CPU, *FLAVOURS]),
    default=ORT_CPU,
    show_default=True,
    help="What runs the graph: ONNX Runtime on this CPU, or a TensorRT on this GPU.",
)
@click.option("--at", metavar="AXES", help="Sizes to be fast at, batch=1,height=56 (default: each axis's optimum).")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads (default: the physical cores).")
@click.option(
    "--seconds",
    type=Number(),
    help="Shortest time for each graph in each comparison (default: 1.5 on the CPU, 0.6 on a GPU).",
)
@click.option(
    "--precision",
    metavar="NAME",
    help=f"With TensorRT: the graph to tune, {', '.join(PRECISIONS)} (default: that which the others are made of).",
)
@click.option(
    "--profile", metavar="AXES", help="With TensorRT: the plan's ranges, batch=1:8:32 (default: the bundle's)."
)
@click.option(
    "--minutes",
    type=Number(),
    metavar="N",
    help="With TensorRT: build no candidate later than so many minutes after the plain plan (default: no limit).",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="With TensorRT: builds at once (default: half the cores)."
)
@builder_options
@click.option(
    "--cache",
    type=AnyPath(file_okay=False),
    metavar="FOLDER",
    help="With TensorRT: keep the plans that are built here (default: a folder of your own, emptied in the end).",
)
@output_options
def command(
    bundle: Path, runtime: str, at: str | None, threads: int | None, seconds: float | None, as_json: bool, **given: Any
) -> int:
    """Rewrite the graph of BUNDLE to run fastest on this machine.

    By default the runtime is ONNX Runtime on this CPU, and the result model.ort-cpu.onnx. With --runtime tensorrt
    every candidate is built as a plan, which takes minutes, and is timed on the GPU as a CUDA graph. An interrupted run
    goes on with the plans that it has. No PyTorch is needed.

    Every rewrite is exact in real arithmetic; each is timed, what is faster is kept, and the result is judged on the
    recorded cases before it becomes part of the bundle. Nothing else should run meanwhile.
    """
    if runtime == ORT_CPU:
        _refuse(given, "--runtime tensorrt")
        found = _on_cpu(bundle, at, threads, seconds)
    else:
        _refuse({"threads": threads}, "--runtime ort-cpu")
        found = _on_gpu(bundle, runtime, at, seconds, given)
    files = _files(found, runtime, given["precision"])
    if as_json:
        judged = None if found.verdict is None else found.verdict.to_json()
        json = {"path": str(found.bundle.path), "graph": None, **files}
        print_json({**json, "tuning": found.tuning.to_json(), "verdict": judged})
        return 0
    from ..report.table import verdict_table
    from ..report.tuning_table import tuning_table

    print_rich(tuning_table(found.bundle.name, found.tuning))
    if found.verdict is not None:
        print_rich(verdict_table(found.verdict))
        lines = [f"{name:8} {file}" for name, file in files.items()]
        print_lines(
            "\n".join([*lines, f"next     attn2trt benchmark {quoted(found.bundle.path)}   it beside the others"])
        )
    return 0


def _on_cpu(bundle: Path, at: str | None, threads: int | None, seconds: float | None) -> TunedBundle:
    from ..workflows.tune import METHOD, tune_bundle

    method = _with_seconds(METHOD, seconds)
    with stages() as progress:
        return tune_bundle(bundle, at=at, threads=threads, method=method, progress=progress)


def _on_gpu(bundle: Path, runtime: str, at: str | None, seconds: float | None, given: Mapping[str, Any]) -> TunedBundle:
    from ..engines.tensorrt.build import BuildOptions
    from ..workflows.tune_plans import METHOD, TuneRequest, tune_plans

    method = _with_seconds(METHOD, seconds)
    options = BuildOptions(given["workspace"], given["level"], without_tactics=given["without_tactics"])
    rest = {name: given[name] for name in ("precision", "profile", "minutes", "jobs", "cache")}
    request = TuneRequest(runtime=runtime, at=at, options=options, **rest)
    with stages() as progress:
        return tune_plans(bundle, request, method=method, progress=progress)


def _with_seconds(method: Method, seconds: float | None) -> Method:
    return method if seconds is None else replace(method, seconds=seconds, max_seconds=max(method.max_seconds, seconds))


def _files(found: TunedBundle, runtime: str, precision: str | None) -> dict[str, Path]:
    """Return the files that were written, by what each is."""
    bundle = found.bundle
    if found.verdict is None:
        return {}
    if runtime == ORT_CPU:
        return {} if bundle.tuned is None else {"graph": bundle.path / str(bundle.tuned["file"])}
    from ..engines.tensorrt.plans import plans_of

    name = precision or bundle.precision
    own = (runtime, name, True)
    plan = next(plan for plan in plans_of(bundle) if (plan.flavour, plan.precision, plan.tuned) == own)
    entry = bundle.tuned_graph(runtime, name)
    graph = {} if entry is None else {"graph": bundle.path / entry["file"]}
    return {**graph, "plan": bundle.path / plan.file}


def _refuse(given: Mapping[str, Any], expected: str) -> None:
    """Raise InputError for the first option that is given, and has no meaning here."""
    for name, value in given.items():
        if value not in (None, ()):
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"received {option}; expected it with {expected}; leave {option} out, or name that runtime"
            )
