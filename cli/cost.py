"""``attn2trt cost``: the cost of a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.input_path import is_there
from ..core.precision import FP32, PRECISIONS
from ..engines.tensorrt.flavours import FLAVOURS
from ..errors import InputError
from .options import output_options, require_option, take_method, take_weights, target_options, timing_options
from .out_file import TITLE, out_file
from .output import print_json, print_rich, stages
from .parameters import PATH
from .requirements import check

if TYPE_CHECKING:
    from ..engines.timing.costs import Cost
    from ..engines.timing.device_costs import DeviceCost

ON_CPU = "ort-cpu"
# more graphs than any backbone gives, those that measure the machine among them
MOST_GRAPHS = 60
# two plans, both with a profiler, and copies
MOST_PLANS = 6
PLOTS = (".png", ".svg")


def _plot(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in PLOTS:
        raise InputError(
            f"received --plot {path}; expected a file that ends in {' or '.join(PLOTS)}; write it as --plot cost.png"
        )
    return path


@click.command("cost")
@target_options
@click.option(
    "--runtime",
    type=click.Choice([ON_CPU, *FLAVOURS]),
    default=ON_CPU,
    show_default=True,
    help="What runs it: ONNX Runtime on the CPU, or the GPU with the plan of a bundle.",
)
@click.option(
    "--precision", metavar="NAME", help=f"With tensorrt, the plan's: {', '.join(PRECISIONS)} (default: {FP32})."
)
@click.option(
    "--backbone",
    type=PATH,
    metavar="BUNDLE",
    help="With tensorrt, the plain backbone's bundle, whose plan is timed in turn.",
)
@click.option("--tuned", is_flag=True, help="With tensorrt, the plan of the graph that tune wrote.")
@timing_options("each graph")
@click.option(
    "--plot",
    type=PATH,
    metavar="FILE",
    callback=_plot,
    help="Draw it to a .png or .svg file; needs matplotlib.",
)
@require_option
@output_options
def command(
    target: str,
    runtime: str,
    precision: str | None,
    backbone: Path | None,
    tuned: bool,
    out: Path | None,
    plot: Path | None,
    force: bool,
    require: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Measure the cost of the block in TARGET, beside its limit.

    The limit is the least that its bytes and operations can take on this machine.

    TARGET is a backbone with a block, which is timed beside the backbone without it, or a block alone with --shape.
    Everything runs in ONNX Runtime on the CPU. Nothing else should run on the machine meanwhile.

    With --runtime tensorrt TARGET is the folder of a bundle with a plan for this GPU: no PyTorch is needed. The plan is
    timed whole, as a CUDA graph, and layer by layer, beside its bytes over the bandwidth of the GPU's memory.
    """
    check(require)
    document_file = out_file(out, force=force, example="cost.json")
    plot_file = out_file(plot, force=force, option="--plot", example="cost.png")
    document: dict[str, Any]
    if runtime != ON_CPU:
        from ..report.device_cost_table import device_cost_table

        asked = {"precision": precision or FP32, "backbone": backbone, "tuned": tuned, "flavour": runtime}
        on_gpu = _on_gpu(target, asked, {"plot": plot, **options})
        document, table = on_gpu.to_json(), partial(device_cost_table, on_gpu)
    else:
        from ..report.cost_plot import write_plot
        from ..report.cost_table import cost_table

        _require_gpu({"--precision": precision, "--backbone": backbone, "--tuned": tuned or None})
        found = _on_cpu(target, plot, options)
        document, table = found.to_json(), partial(cost_table, found)
    document = {**document, "command": "attn2trt cost"}
    try:
        if document_file is not None:
            document_file.write_document(document)
        if plot_file is not None:
            plot_file.write(lambda path: write_plot(found, path, title=TITLE))
    finally:  # what was measured is printed, too, if the disk is full
        if as_json:
            print_json(document)
        else:
            print_rich(table())
    return 0


def _on_cpu(target: str, plot: Path | None, options: dict[str, Any]) -> Cost:
    """Time a target in ONNX Runtime."""
    from ..report.cost_plot import require_matplotlib
    from ..workflows.cost import ROUNDS, check_target, cost

    if plot is not None:
        check_target(target, options["shapes"])
        require_matplotlib()
    method, weights = take_method(options, rounds=ROUNDS, most=MOST_GRAPHS), take_weights(options)
    with stages() as progress:
        return cost(target, method=method, weights=weights, progress=progress, **options)


def _require_gpu(options: Mapping[str, object]) -> None:
    """Raise InputError for the first option that is given: it goes with a plan."""
    for option, value in options.items():
        if value is not None:
            raise InputError(
                f"received {option} without a GPU's runtime; expected it with a bundle and its plan; add "
                f"--runtime tensorrt, or leave {option} out"
            )


def _on_gpu(target: str, asked: Mapping[str, Any], options: dict[str, Any]) -> DeviceCost:
    """Time a bundle's plan. Raises InputError for a TARGET, and for options that go with one."""
    if not is_there(Path(target), "folder"):
        raise InputError(
            f"received {target}, which is no folder; expected a bundle with a plan, since a plan is built and judged "
            f"before it is timed; run attn2trt deploy {target} -o DIR and attn2trt compile DIR, and give DIR"
        )
    from ..workflows.cost_plan import cost_plan
    from ..workflows.plan_bench import METHOD

    asked_for = take_method(options, rounds=METHOD.rounds, most=MOST_PLANS)
    method = replace(
        METHOD, seconds=asked_for.seconds, iterations=asked_for.iterations, max_seconds=asked_for.max_seconds
    )
    shapes = options.pop("shapes")
    _refuse(options)

    with stages() as progress:
        return cost_plan(target, shapes=shapes, method=method, progress=progress, **asked)


def _refuse(options: Mapping[str, Any]) -> None:
    """Raise InputError for the first option that a plan, which is there already, has no use for."""
    context = click.get_current_context()
    for name, value in options.items():
        given = context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if given and value not in (None, ()):
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"received {option} with --runtime tensorrt, which times a plan as it is; expected {option} with a "
                f"TARGET on the CPU; leave it out"
            )
