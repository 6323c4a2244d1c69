"""``attn2trt compile``: a bundle's graphs into TensorRT plans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.command_line import quoted
from ..core.precision import PRECISIONS, named_precisions
from ..engines.tensorrt.targets import name_targets
from .builder_options import builder_options
from .options import bundle_argument, output_options
from .output import print_json, print_lines, print_note, stages

if TYPE_CHECKING:
    from ..engines.tensorrt.plans import Plan


@click.command("compile")
@bundle_argument
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    metavar="LIST",
    help=f"Which of the bundle's graphs, separated by commas: {', '.join(PRECISIONS)}. A plan for each.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="AXES",
    help="Shapes to choose kernels for, batch=1:1:1; repeat it for several (default: the bundle's ranges).",
)
@builder_options
@click.option("--version-compatible", is_flag=True, help="A plan that later versions of TensorRT load as well.")
@click.option("--hardware-compatible", is_flag=True, help="A plan for every GPU from Ampere on.")
@click.option(
    "--for",
    "capabilities",
    metavar="LIST",
    help="Compute capabilities to build for without a GPU, sm86,sm89,sm120, with TensorRT for RTX "
    "(default: this machine's GPU).",
)
@click.option("--tuned", is_flag=True, help="From the graph that attn2trt tune wrote for the TensorRT that builds.")
@output_options
def command(
    bundle: Path,
    precision: str,
    profiles: tuple[str, ...],
    workspace: int | None,
    level: int | None,
    version_compatible: bool,
    hardware_compatible: bool,
    without_tactics: tuple[str, ...],
    capabilities: str | None,
    tuned: bool,
    as_json: bool,
) -> None:
    """Build TensorRT plans from the graphs of BUNDLE. Needs no PyTorch.

    Without --for a plan is for this machine's GPU, built by TensorRT, or by TensorRT for RTX if TensorRT is not
    installed. The plans become part of the bundle; attn2trt validate judges those that this machine can run.
    """
    from ..engines.tensorrt.build import BuildOptions
    from ..workflows.compile import compile_bundle, require_compilable

    asked: dict[str, Any] = {
        "profiles": profiles,
        "options": BuildOptions(workspace, level, version_compatible, hardware_compatible, without_tactics),
        "capabilities": capabilities,
        "tuned": tuned,
    }
    names, plans = named_precisions(precision), []
    if len(names) > 1:
        require_compilable(bundle, names, **asked)
    with stages() as progress:
        for name in names:
            found, plan = compile_bundle(bundle, precision=name, **asked, progress=progress)
            plans.append(plan)
    if not found.passed:
        print_note(f"no verdict passed {bundle} so far: what is built of it is unchecked, or computes something else")
    if as_json:
        print_json({"path": str(found.path), "plans": [plan.to_json() for plan in plans]})
        return
    for plan in plans:
        print_lines("\n".join(_lines(found.path, plan)))
    where = "" if all(plan.gpu for plan in plans) else " on a machine that runs it"
    what = f"{'the plan' if len(plans) == 1 else 'each plan'} against the recorded PyTorch outputs{where}"
    print_lines(f"next     attn2trt validate {quoted(found.path)}   {what}: not checked so far")


def _lines(folder: Path, plan: Plan) -> list[str]:
    where = f"{plan.gpu}, CUDA {plan.driver}, " if plan.gpu else ""
    device = f", takes {plan.device_bytes / 2**20:.1f} MiB on the device" if plan.device_bytes else "; not run here"
    return [
        f"plan     {folder / plan.file}",
        f"         {plan.built_by}, {where}for {name_targets(plan.capabilities)}",
        f"         built in {plan.seconds:.1f} s{device}",
        f"         loaded by {plan.product.loaded_by}",
        *(f"profile  {profile}" for profile in plan.profiles),
    ]
