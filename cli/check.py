"""``attn2trt check``: an ONNX file that something else wrote, beside its own float64 or beside a PyTorch module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.processes import STAGE_SECONDS, note
from .formats import Formats, format_option
from .options import (
    IMAGES,
    PATH,
    against_option,
    calibration_options,
    capabilities_option,
    deploy_options,
    float32_truth_option,
    io_option,
    max_error_option,
    output_options,
    require_option,
    shape_options,
    weight_options,
)
from .output import print_json, print_rich, stages
from .requirements import check
from .summary import exit_code, truth_line

if TYPE_CHECKING:
    from ..workflows.check import CheckedModel


@click.command("check")
@click.argument("model", type=PATH)
@against_option
@shape_options
@weight_options
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    metavar="LIST",
    help="Graphs to write of a float32 file and to judge beside it: fp16, bf16, int8, fp8, separated by commas.",
)
@calibration_options
@io_option
@capabilities_option
@click.option("--inputs", type=IMAGES, metavar="DIR", help="Photographs to judge on, beside the seeded cases.")
@max_error_option
@float32_truth_option
@click.option(
    "--time-limit",
    "seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=STAGE_SECONDS,
    show_default=True,
    help="End a stage, and a process that works on the file, that takes longer.",
)
@click.option(
    "--memory-limit",
    "memory_gib",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="Most memory of each process that works on the file (default: three quarters of the machine's).",
)
@require_option
@format_option
@output_options
def command(
    model: Path, require: tuple[str, ...], formats: tuple[str, ...], as_json: bool, seconds: float, **options: Any
) -> int:
    """Judge MODEL, an ONNX file that something else wrote. Needs no PyTorch without --against.

    The file is read and run in processes of its own. Weights beside it must lie in its folder; operators that are not
    ONNX's own are refused.
    """
    wanted = Formats(formats, as_json=as_json)
    with wanted.errors_of(str(model)):
        check(require)
    from ..report.formats.finding import outcome_of
    from ..workflows.check import check_model

    note(seconds=seconds)
    given: Mapping[str, Any] = deploy_options(options)
    with wanted.errors_of(str(model)), stages() as progress:
        checked = check_model(model, seconds=seconds, progress=progress, **given)
    wanted.write(outcome_of(model.name, checked.verdict, {}, str(model)))
    if as_json:
        print_json(checked.to_json())
    if as_json or wanted.is_printed:
        return exit_code(checked.verdict)
    from rich.text import Text

    from ..report.table import verdict_table

    print_rich(verdict_table(checked.verdict), *map(Text, _lines(checked)))
    return exit_code(checked.verdict)


def _lines(checked: CheckedModel) -> list[str]:
    file = checked.file
    count = sum(file.operators.values())
    producer = f", {file.producer}" if file.producer else ""
    lines = [
        f"file     {file.path}: opset {file.opset}, IR version {file.ir_version}{producer}, {count} nodes; "
        f"sha256 {file.sha256[:12]}…"
    ]
    lines += [f"weights  {name}, beside the file" for name in file.files]
    lines += [f"input    {spec}" for spec in checked.inputs]
    lines += [f"output   {spec}" for spec in checked.outputs]
    if checked.axes:
        ranges = ", ".join(f"{name} {axis}" for name, axis in checked.axes.items())
        lines.append(f"dynamic  {ranges}  (min:opt:max)")
    return [*lines, truth_line(checked.against), *(f"note     {text}" for text in checked.notes)]
