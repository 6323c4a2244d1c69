"""Options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..core.graph_io import IO
from ..core.precision import FP32, INTEGERS, PRECISIONS, QUANTISED, named_budgets
from ..core.processes import STAGE_SECONDS, note
from ..engines.tensorrt.targets import DEFAULT
from .parameters import CALIBRATION, PATH, Checkpoint, Number, read_preprocessing
from .verbose import show_log

if TYPE_CHECKING:
    from ..engines.timing.method import Method
    from ..workflows.options import Weights

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

_LAYOUTS = "attn2trt.layouts"
# `main` looks for the flag in the arguments; declared here so that every command accepts and documents it.
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=show_log,
    help="Show on stderr what is done, and when: processes, files, seconds.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout instead of text.")
require_option = click.option(
    "--require",
    multiple=True,
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    help="End with exit code 3 if this is not usable.",
)
max_error_option = click.option(
    "--max-error",
    type=Number(),
    metavar="NUMBER",
    help=f"Budget for the relative L2 error (default: {named_budgets()}).",
)
float32_truth_option = click.option(
    "--allow-float32-truth",
    is_flag=True,
    help="Take a comparison with PyTorch's float32 for a pass if float64 cannot run the module.",
)
against_option = click.option(
    "--against",
    metavar="TARGET",
    help="The PyTorch module that an ONNX file must compute: py:package.module:factory, mynet.py:Net or a catalogue "
    "name. Without it the truth is the graph itself in float64.",
)


preprocessing_option = click.option(
    "--preprocessing",
    metavar="JSON",
    callback=read_preprocessing,
    help="The way from a photograph to the input, in place of the model's own: JSON as the manifest has it, or a file.",
)
bundle_argument = click.argument("bundle", type=PATH)


def target_options(command: Command) -> Command:
    """TARGET and everything that says what the module and its inputs are."""
    return stack(command, click.argument("target"), module_options)


def targets_options(command: Command) -> Command:
    """One TARGET or more, and everything that says what the modules and their inputs are."""
    return stack(command, click.argument("targets", nargs=-1, required=True, metavar="TARGET..."), module_options)


def module_options(command: Command) -> Command:
    """Options for the inputs and the weights."""
    own = click.option(
        "--random-weights",
        is_flag=True,
        help="Draw the weights of your own module or block as well, scaled layer by layer.",
    )
    return stack(command, shape_options, weight_options, own)


def trust_option(command: Command) -> Command:
    """The consent to run what a file holds."""
    return click.option(
        "--trust",
        is_flag=True,
        help="Read what runs code of its author: ultralytics:best.pt, net.pt2, or the TensorRT plan of check.",
    )(command)


def weight_options(command: Command) -> Command:
    """The source of the weights."""
    return stack(
        command,
        click.option(
            "--checkpoint",
            type=Checkpoint(),
            metavar="FILE[#ENTRY]",
            help="Weights: safetensors (an index for shards), weights-only PyTorch, or hf-hub:owner/name.",
        ),
        click.option("--pretrained", is_flag=True, help="The backbone's published weights."),
        trust_option,
        click.option(
            "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of random weights."
        ),
    )


def take_weights(options: dict[str, Any]) -> Weights:
    """Take the options of the weights out of a command's, and return them as one object."""
    from ..workflows.options import Weights

    random = options.pop("random_weights", False)  # of commands that build a module
    return Weights(random=random, **{name: options.pop(name) for name in ("seed", "pretrained", "checkpoint", "trust")})


def shape_options(command: Command) -> Command:
    """The traced sizes and the axes that may vary."""
    return stack(
        command,
        click.option(
            "--shape",
            "shapes",
            multiple=True,
            metavar="SHAPE",
            callback=_shapes,
            help="Traced shape, 2x3x224x224; of several inputs image=2x3x64x64,ids=2x16:int64[0,999] or one each.",
        ),
        click.option(
            "--layout",
            "layouts",
            multiple=True,
            metavar="[NAME=]nhwc",
            expose_value=False,
            is_eager=True,
            callback=_layouts,
            help="Images with the channels last: height and width are axes 1 and 2.",
        ),
        click.option(
            "--dynamic",
            metavar="AXES",
            help="Axes that may vary: batch=1:8:32 (min:opt:max), height=32:64:128:32 (multiples of 32), names alone "
            "(batch,height), dimN for axis N, NAME.height of one input, b.height=a.height/2 to tie one to another; "
            "none, or batch=none, keeps the traced size. A bundle's batch varies from 1 to 8 unless named.",
        ),
    )


def _layouts(context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> None:
    context.meta[_LAYOUTS] = texts


def _shapes(context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """The shapes, each with the layout that --layout gives it."""
    if not (layouts := context.meta.get(_LAYOUTS)):
        return texts
    from ..modules.shapes import parse_shapes, with_layouts

    return tuple(shape.text for shape in with_layouts(parse_shapes(texts), layouts))


capabilities_option = click.option(
    "--for",
    "capabilities",
    default=DEFAULT,
    show_default=True,
    metavar="LIST",
    help="GPUs that TensorRT for RTX builds a plan of every graph for; none leaves that out.",
)


def export_options(command: Command) -> Command:
    """Options for the place of the bundle and for what is in it."""
    return stack(
        command,
        click.option("-o", "--out", type=PATH, metavar="DIR", help="The bundle (default: bundles/TARGET)."),
        click.option("--opset", type=click.IntRange(min=1), default=17, show_default=True, help="ONNX opset."),
        precision_options,
        preprocessing_option,
        click.option("--force", is_flag=True, help="Rebuild, even if the bundle is there and unchanged."),
        click.option(
            "--time-limit",
            type=Number(),
            metavar="SECONDS",
            default=STAGE_SECONDS,
            show_default=True,
            expose_value=False,
            callback=lambda _context, _option, seconds: note(seconds=seconds),
            help="End a stage that takes longer, as a failure.",
        ),
    )


io_option = click.option(
    "--io",
    type=click.STRING,
    default=FP32,
    show_default=True,
    metavar="TYPE",
    help=f"Type of float inputs and outputs: {IO[0]}, or {IO[1]} for graphs in {IO[1]} and int8-{IO[1]}, "
    "which then cast neither.",
)


placement_option = click.option(
    "--placement",
    default="rules",
    show_default=True,
    metavar="NAME",
    help="What places the pairs of int8-fp16: rules, or modelopt (nvidia-modelopt's own places).",
)


def precision_options(command: Command) -> Command:
    """Options for the precisions of the graphs."""
    return stack(
        command,
        click.option(
            "--precision",
            default="fp32",
            show_default=True,
            metavar="LIST",
            help=f"Graphs to write: {', '.join(PRECISIONS)}, separated by commas; float32 is always there. "
            "auto: the fewest bits that pass.",
        ),
        calibration_options,
        click.option(
            "--keep-fp32",
            multiple=True,
            metavar="PATTERN",
            help="Modules that stay in float32 in every other graph: a path or a glob, with everything inside. Of an "
            "ONNX file, nodes by their names.",
        ),
        io_option,
        placement_option,
    )


def calibration_options(command: Command) -> Command:
    """Options for the ranges of 8-bit types."""
    return stack(
        command,
        click.option(
            "--calibrate",
            type=CALIBRATION,
            metavar="PATH",
            help="Photographs (a folder) or tensors (.npz, .safetensors) on which the ranges are found, for "
            f"{', '.join(QUANTISED)}.",
        ),
        click.option(
            "--calibration",
            metavar="METHOD",
            help=f"Method that finds the ranges of {', '.join(INTEGERS)}: minmax (the default), percentile, entropy.",
        ),
    )


def deploy_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of ``deploy`` for the values of a command's options, by their names."""
    from ..workflows.options import Judging, PrecisionRequest

    left = dict(options)
    weights = take_weights(left)

    def taken(*names: str) -> dict[str, Any]:
        return {name: left.pop(name) for name in names if name in left}

    precision = taken("keep_fp32", "calibrate", "calibration", "io", "placement")
    return {
        "weights": weights,
        "judging": Judging(**taken("verdict", "max_error", "inputs", "allow_float32_truth")),
        "precision": PrecisionRequest(precisions=left.pop("precision"), **precision),
        **left,
    }


def timing_options(each: str) -> Decorator[Any]:
    """Options for the time, threads and opset with which ``each`` is timed, and for the place of the document."""
    seconds = Number()
    count = click.IntRange(min=1)
    options = (
        click.option("--threads", type=count, metavar="N", help="Threads (default: the physical cores)."),
        click.option("--seconds", type=seconds, default=3.0, show_default=True, help=f"Shortest time for {each}."),
        click.option("--iterations", type=count, default=100, show_default=True, help=f"Fewest calls for {each}."),
        click.option(
            "--max-seconds",
            type=seconds,
            default=20.0,
            show_default=True,
            help=f"Longest time for {each}; comes before --iterations.",
        ),
        click.option("--opset", type=count, default=17, show_default=True, help="ONNX opset of a TARGET."),
        click.option("-o", "--out", type=PATH, metavar="FILE", help="Write the JSON document there too."),
        click.option("--force", is_flag=True, help="Replace a file there that no command of attn2trt wrote."),
    )
    return lambda command: stack(command, *options)


def take_method(options: dict[str, Any], *, rounds: int, most: int) -> Method:
    """Take the rules of the clock out of a command's options. A stage may take the longest time of ``most`` models.

    Raises InputError if the rules contradict each other.
    """
    from ..engines.timing.method import Method

    method = Method(**{name: options.pop(name) for name in ("seconds", "iterations", "max_seconds")}, rounds=rounds)
    note(seconds=STAGE_SECONDS + most * method.max_seconds)
    return method


def output_options(command: Command) -> Command:
    """Options for what the command prints."""
    return stack(command, json_option, verbose_option, debug_option)


def stack(command: Command, *decorators: Callable[[Any], Any]) -> Command:
    # Decorators apply from the last to the first, as a pile of @ lines would.
    return reduce(lambda wrapped, decorate: decorate(wrapped), reversed(decorators), command)
