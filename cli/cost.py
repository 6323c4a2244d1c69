"""``attn2trt cost``: the cost of a block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from .options import output_options, require_option, take_method, take_weights, target_options, timing_options
from .out_file import TITLE, out_file
from .output import print_json, print_rich, stages
from .requirements import check

# more graphs than any backbone gives, those that measure the machine among them
MOST_GRAPHS = 60
PLOTS = (".png", ".svg")


def _plot(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in PLOTS:
        raise InputError(
            f"received --plot {path}; expected a file that ends in {' or '.join(PLOTS)}; write it as --plot cost.png"
        )
    return path


@click.command("cost")
@target_options
@timing_options("each graph")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    callback=_plot,
    help="Draw it to a .png or .svg file; needs matplotlib.",
)
@require_option
@output_options
def command(
    target: str,
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
    """
    check(require)
    document_file = out_file(out, force=force, example="cost.json")
    plot_file = out_file(plot, force=force, option="--plot", example="cost.png")
    from ..report.cost_plot import require_matplotlib, write_plot
    from ..workflows.cost import ROUNDS, cost

    if plot is not None:
        require_matplotlib()
    method, weights = take_method(options, rounds=ROUNDS, most=MOST_GRAPHS), take_weights(options)
    with stages() as progress:
        found = cost(target, method=method, weights=weights, progress=progress, **options)
    document = {**found.to_json(), "command": "attn2trt cost"}
    if document_file is not None:
        document_file.write_document(document)
    if plot_file is not None:
        plot_file.write(lambda path: write_plot(found, path, title=TITLE))
    if as_json:
        print_json(document)
    else:
        from ..report.cost_table import cost_table

        print_rich(cost_table(found))
    return 0
