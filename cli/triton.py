"""``attn2trt triton``: a bundle as models of a Triton repository."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..core.command_line import quoted
from ..core.input_path import require_readable
from ..core.precision import named_precisions
from ..errors import InputError
from .options import bundle_argument, output_options
from .output import print_json, print_lines, print_note, stages
from .parameters import PATH

if TYPE_CHECKING:
    from ..workflows.triton import ServedBundle, ServedModel

LABELS = "a text file, one class a line"


@click.command("triton")
@bundle_argument
@click.option("-o", "--out", type=PATH, required=True, metavar="DIR", help="The model repository.")
@click.option("--name", metavar="NAME", help="The model's name (default: the target's, with _fp16 for that graph).")
@click.option(
    "--precision", metavar="LIST", help="Which of the bundle's graphs, separated by commas (default: every one)."
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "tensorrt", "onnxruntime", "python"]),
    default="auto",
    show_default=True,
    help="auto: TensorRT for a precision with plans, else ONNX Runtime. python: ONNX Runtime in a model.py.",
)
@click.option(
    "--tensorrt", metavar="VERSION", help="The TensorRT version of that Triton, if there are plans of several."
)
@click.option(
    "--as",
    "layout",
    type=click.Choice(["names", "versions"]),
    default="names",
    show_default=True,
    help="Several precisions as models of their own, or as versions 1, 2, … of one model.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Where ONNX Runtime runs a graph.",
)
@click.option("--instances", type=click.IntRange(min=1), metavar="N", help="Instances per device (default: Triton's).")
@click.option("--no-batching", is_flag=True, help="Never put requests together: clients send the batch themselves.")
@click.option(
    "--queue-delay",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="MICROSECONDS",
    help="How long a request may wait for others.",
)
@click.option("--no-warmup", is_flag=True, help="Do not run the recorded inputs before a model is ready.")
@click.option(
    "--labels",
    multiple=True,
    metavar="[OUTPUT=]FILE",
    help="Names of an output's classes, one a line; clients may ask Triton for the best.",
)
@click.option("--add", is_flag=True, help="Put the models beside others in a repository that is there.")
@output_options
def command(
    bundle: Path,
    out: Path,
    name: str | None,
    precision: str | None,
    backend: str,
    tensorrt: str | None,
    layout: Literal["names", "versions"],
    device: str,
    instances: int | None,
    no_batching: bool,
    queue_delay: int,
    no_warmup: bool,
    labels: tuple[str, ...],
    add: bool,
    as_json: bool,
) -> None:
    """Write BUNDLE as models that Triton Inference Server loads. Needs no PyTorch.

    The configuration is made from the manifest; the model's files are those of the bundle, by their hashes. What
    is served is judged by attn2trt validate BUNDLE --server URL.
    """
    from ..engines.triton.config import Serving
    from ..workflows.triton import write_triton_repository

    serving = Serving(device, instances, queue_delay, _labels(bundle, labels))
    with stages() as progress:
        written = write_triton_repository(
            bundle,
            out,
            name=name,
            precisions=None if precision is None else named_precisions(precision),
            backend=backend,
            tensorrt=tensorrt,
            layout=layout,
            batching=not no_batching,
            warmup=not no_warmup,
            serving=serving,
            add=add,
            progress=progress,
        )
    if not written.passed:
        print_note(f"no verdict passed {bundle} so far: what is served is unchecked until attn2trt validate passes it")
    if as_json:
        print_json(written.to_json())
        return
    print_lines("\n".join(_lines(bundle, written)))


def _labels(bundle: Path, texts: tuple[str, ...]) -> dict[str, str]:
    """Return the text of each labels file by its output. Raises InputError for one that cannot be read."""
    from ..core.bundle import open_bundle

    found = {}
    for text in texts:
        output, _, file = text.rpartition("=") if not Path(text).exists() else ("", "", text)
        try:
            content = require_readable(Path(file), LABELS, option="--labels").read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"received --labels {text}; expected {LABELS}, in UTF-8 ({error.reason}); write it again"
            ) from None
        outputs = open_bundle(bundle).outputs
        if not output and len(outputs) > 1:
            names = ", ".join(spec.name for spec in outputs)
            raise InputError(
                f"received --labels {text}; expected one of {names} before it, as {outputs[0].name}={file}"
            )
        found[output or outputs[0].name] = content
    return found


def _lines(bundle: Path, written: ServedBundle) -> list[str]:
    serve = shlex.join(["tritonserver", f"--model-repository={written.path}", *written.flags])
    return [
        f"repository {written.path}",
        *(line for model in written.models for line in _model_lines(model)),
        *(f"left out   {line}" for line in written.left_out),
        f"serve      {serve}",
        f"check      attn2trt validate {quoted(bundle)} --server grpc://localhost:8001   "
        "the recorded cases through the server: not checked so far",
    ]


def _model_lines(model: ServedModel) -> list[str]:
    several = len(model.sources) > 1
    versions = [
        f"{number}: {one.precision}" if several else one.precision for number, one in enumerate(model.sources, 1)
    ]
    batch = f"batches of up to {model.batching.largest}" if model.batching.axis else "requests are not put together"
    lines = [f"model      {model.name}   {model.platform}, {', '.join(versions)}, {batch}"]
    return [*lines, f"           {model.batching.why_not}"] if model.batching.why_not else lines
