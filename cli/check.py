"""``attn2trt check``: an ONNX file that something else wrote, beside its own float64 or beside a PyTorch module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..core.precision import FP32
from ..core.processes import STAGE_SECONDS, note
from ..errors import InputError
from .check_next import next_of_check
from .formats import Formats, format_option
from .options import (
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
from .output import stages
from .parameters import IMAGES, PATH, Number
from .requirements import check
from .summary import exit_code, first_of, truth_line

if TYPE_CHECKING:
    from ..workflows.check import CheckedModel
    from ..workflows.check_plan import CheckedPlan

# Options about graphs that are made of an ONNX file, by the parameter.
_OF_GRAPHS = {"capabilities": "--for", "calibrate": "--calibrate", "calibration": "--calibration"}


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
    help="Graphs to write of a float32 file and to judge beside it: fp16, bf16, int8, int8-fp16, fp8, by commas.",
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
    type=Number(),
    metavar="SECONDS",
    default=STAGE_SECONDS,
    show_default=True,
    help="End a stage, and a process that works on the file, that takes longer.",
)
@click.option(
    "--memory-limit",
    "memory_gib",
    type=Number(),
    metavar="GIB",
    help="Most memory of each process that works on the file (default: three quarters of the machine's).",
)
@click.option(
    "--plan",
    type=PATH,
    metavar="FILE",
    help="Judge this TensorRT plan, which was built from MODEL, a file or a bundle. It needs a GPU, and --trust.",
)
@click.option(
    "--plugin", type=PATH, metavar="DIR", help="With --plan: the plugin that it needs, as attn2trt plugin wrote it."
)
@require_option
@format_option
@output_options
@click.pass_context
def command(
    context: click.Context,
    /,
    model: Path,
    plan: Path | None,
    plugin: Path | None,
    require: tuple[str, ...],
    formats: tuple[str, ...],
    as_json: bool,
    seconds: float,
    **options: Any,
) -> int:
    """Judge MODEL, an ONNX file that something else wrote. Needs no PyTorch without --against.

    The file is read and run in processes of its own. Weights beside it must lie in its folder; operators that are not
    ONNX's own are refused.

    With --plan the plan is judged, beside the float64 of MODEL. --precision is then what it was built in; without it
    the plan is held to what TensorRT's inspector tells of its layers.
    """
    wanted = Formats(formats, as_json=as_json)
    with wanted.errors_of(str(model)):
        check(require)
        if plugin is not None and plan is None:
            raise InputError(
                f"received --plugin {plugin} without --plan; expected it with a plan that needs it; add --plan, or "
                "leave --plugin out"
            )
    if plan is not None:
        return _check_plan(context, model, plan, wanted, {**options, "plugin": plugin, "seconds": seconds})
    from ..report.formats.finding import outcome_of
    from ..workflows.check import check_model

    note(seconds=seconds)
    with wanted.errors_of(str(model)), stages() as progress:
        graphs: Mapping[str, Any] = deploy_options(options)
        checked = check_model(model, seconds=seconds, progress=progress, **graphs)
    outcome = outcome_of(model.name, checked.verdict, {}, str(model))
    wanted.show(outcome, checked.verdict, checked.to_json, [*_lines(checked), *next_of_check(checked, context)])
    return exit_code(checked.verdict)


def _check_plan(context: click.Context, model: Path, plan: Path, wanted: Formats, options: dict[str, Any]) -> int:
    """Judge a plan, print what was found, and return the exit code."""
    from ..report.formats.finding import outcome_of
    from ..workflows.check_plan import check_plan

    note(seconds=options["seconds"])
    with wanted.errors_of(str(plan)), stages() as progress:
        given = _plan_options(context, options)
        checked = check_plan(plan, model, trust=options["trust"], progress=progress, **given)
    outcome = outcome_of(plan.name, checked.verdict, {}, str(plan))
    wanted.show(outcome, checked.verdict, checked.to_json, _plan_lines(checked))
    return exit_code(checked.verdict)


def _plan_options(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of ``check_plan``. Raises InputError for options that are about graphs to be written."""
    is_given = {
        name: context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("precision", *_OF_GRAPHS)
    }
    for name, flag in _OF_GRAPHS.items():
        if is_given[name]:
            raise InputError(f"received {flag} with --plan; expected it with an ONNX file that graphs are made of")
    keywords = deploy_options({name: value for name, value in options.items() if name not in _OF_GRAPHS})
    precision = keywords.pop("precision")
    lower = precision.lower
    if len(lower) > 1 or precision.chooses:
        raise InputError(
            f"received --precision {options['precision']} with --plan; expected the one that the plan was built in"
        )
    asked = next(iter(lower), FP32) if is_given["precision"] else None
    return {**keywords, "precision": asked}


def _plan_lines(checked: CheckedPlan) -> list[str]:
    from ..engines.tensorrt.layers import in_words

    lines = [
        f"plan     {checked.path}: built by {checked.header}; sha256 {checked.sha256[:12]}…",
        f"held to  {checked.precision}, beside {checked.model}",
        f"layers   {in_words(checked.layers)}, by TensorRT's inspector",
    ]
    return [*lines, *(f"note     {text}" for text in checked.notes)]


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
    return [
        *lines,
        truth_line(checked.against),
        *(f"note     {text}" for text in first_of(checked.notes, "with --json")),
    ]
