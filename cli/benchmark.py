"""``attn2trt benchmark``: the latency in every runtime of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import CheckFailed, InputError, MissingRequirement
from .options import output_options, require_option, take_method, take_weights, target_options, timing_options
from .out_file import out_file
from .output import print_json, print_note, print_rich, stages, strict
from .requirements import check

if TYPE_CHECKING:
    from ..engines.timing.results import Benchmark

# more cells than any target has at one batch
MOST_CELLS = 20


def _batches(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    # int() takes digits of any script, and a batch of 0 is none
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"received --batch {text!r}; expected numbers of 1 or more; write it as --batch 1,8,32")
    return tuple(sorted({int(part) for part in parts}))


def _names(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip() for text in texts for part in text.split(","))


@click.command("benchmark")
@target_options
@click.option("--batch", "batches", metavar="N,N", callback=_batches, help="Batches to time (default: the traced one).")
@click.option(
    "--runtime",
    "runtimes",
    metavar="NAME,NAME",
    multiple=True,
    callback=_names,
    help="Only these; exit code 3 if one cannot be timed here (default: all that are found).",
)
@timing_options("each model, runtime and batch")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Turns that each of these times is cut into; more give surer comparisons on a machine that is not quiet.",
)
@require_option
@output_options
def command(
    target: str, rounds: int, out: Path | None, force: bool, require: tuple[str, ...], as_json: bool, **options: Any
) -> int:
    """Measure the latency of TARGET in every runtime here.

    TARGET is a target of deploy, an ONNX file among them, or the folder of a bundle.

    Outputs are compared before anything is timed, and the runtimes are timed in turn. Of a backbone with blocks, the
    plain backbone is timed beside it. Nothing else should run on the machine meanwhile.
    """
    check(require)
    file = out_file(out, force=force, example="latency.json")
    from ..core.bundle import open_bundle
    from ..core.input_path import is_there
    from ..core.manifest import MANIFEST
    from ..report.bundle_view import BENCHMARK
    from ..workflows.benchmark import benchmark
    from ..workflows.report import record

    method, weights = take_method(options, rounds=rounds, most=MOST_CELLS), take_weights(options)
    with stages() as progress:
        opened = open_bundle(target) if is_there(Path(target, MANIFEST), "file") else None
        found = benchmark(target, method=method, weights=weights, progress=progress, **options)
    document = {**found.to_json(), "command": "attn2trt benchmark"}
    try:
        if file is not None:
            file.write_document(document)
        if opened is not None:
            record(opened, {BENCHMARK: strict(document)}, print_note)
    finally:  # what was measured is printed, too, if the disk is full
        if as_json:
            print_json(document)
        else:
            from ..report.latency_table import latency_table

            print_rich(latency_table(found))
    return exit_code(found, options["runtimes"])


def exit_code(found: Benchmark, asked: tuple[str, ...]) -> int:
    """Return 0; 1 if a runtime of ours is wrong or failed; 3 if one that was asked for, or every one, is not here."""
    if any(row.status in ("wrong", "failed") for row in found.rows if not row.is_baseline):
        return CheckFailed.exit_code
    measured = {row.runtime for row in found.rows if row.status == "measured"}
    return 0 if measured and measured >= set(asked) else MissingRequirement.exit_code
