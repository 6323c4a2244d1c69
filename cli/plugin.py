"""``attn2trt plugin``: the channel gate as a TensorRT plugin."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..core.precision import FP32
from ..engines.tensorrt.targets import name_targets
from ..errors import InputError
from .options import output_options
from .output import print_json, print_lines, print_rich, stages
from .parameters import PATH

if TYPE_CHECKING:
    from ..workflows.plugin import Plugin


@click.command("plugin")
@click.option("-o", "--out", type=PATH, required=True, metavar="DIR", help="A folder that is not there, or empty.")
@click.option(
    "--trt-include", type=PATH, metavar="FOLDER", help="TensorRT's headers (default: those that are installed)."
)
@click.option("--cuda", type=PATH, metavar="FOLDER", help="The folder with bin/nvcc (default: the first one found).")
@click.option("--for", "targets", metavar="LIST", help="Compute capabilities, sm86,sm90 (default: sm75 to sm120).")
@click.option("--bundle", type=PATH, metavar="BUNDLE", help="Write this bundle's graph with the plugin's nodes too.")
@click.option("--precision", metavar="NAME", help="With --bundle: the graph, fp32 or fp16 (default: fp32).")
@output_options
def command(
    out: Path,
    trt_include: Path | None,
    cuda: Path | None,
    targets: str | None,
    bundle: Path | None,
    precision: str | None,
    as_json: bool,
) -> None:
    """Compile the channel gate's TensorRT plugin.

    A channel gate, as SE and ECA have, scales each channel of a map by a number that is made of the map. The plugin is
    one node for squeeze, gate, scale, add and ReLU, which reads the map once. The library is for the TensorRT whose
    headers are given: IPluginV2DynamicExt for 8.6, IPluginV3 from 10 on. No GPU is needed, and none has run it yet:
    what is built is no pass.

    With --bundle the bundle's graph is written with a node in the place of each gate, and judged with the nodes
    written out in ONNX's own operators. The bundle stays as it is.
    """
    from ..workflows.plugin import compile_plugin

    if precision is not None and bundle is None:
        raise InputError(f"received --precision {precision} without --bundle; expected both; name the bundle")
    chosen = precision or FP32
    with stages() as progress:
        made = compile_plugin(
            out,
            trt_include=trt_include,
            cuda=cuda,
            targets=targets,
            bundle=bundle,
            precision=chosen,
            progress=progress,
        )
    if as_json:
        print_json(made.to_json())
        return
    if made.graph is not None:
        from ..report.table import verdict_table

        print_rich(verdict_table(made.graph.verdict))
    print_lines("\n".join(_lines(made, bundle)))


def _lines(made: Plugin, bundle: Path | None) -> list[str]:
    about = made.build.about
    lines = [
        f"plugin   {made.build.library}",
        f"for      TensorRT {about['tensorrt']} ({about['interface']}), {name_targets(about['capabilities'])}, by CUDA "
        f"{about['cuda']}",
        f"status   {about['status']}",
    ]
    if made.graph is not None:
        words = ["attn2trt", "check", str(bundle), "--plan", "gates.plan", "--plugin", str(made.path), "--trust"]
        words += [] if made.graph.precision == FP32 else ["--precision", made.graph.precision]
        lines += [
            f"graph    {made.path / made.graph.file}: {len(made.graph.gates)} of its nodes are the plugin's",
            f"next     {shlex.join(words)}   the verdict on its plan",
        ]
    return lines
