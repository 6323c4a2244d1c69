"""``attn2trt deploy``: from a target to a checked bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..core.manifest import MANIFEST
from ..errors import InputError
from ..modules.grammar import onnx_path
from ..modules.target import file_name
from .formats import Formats, format_option
from .options import (
    against_option,
    capabilities_option,
    deploy_options,
    export_options,
    float32_truth_option,
    max_error_option,
    output_options,
    require_option,
    targets_options,
)
from .output import stages
from .parameters import IMAGES
from .requirements import check
from .summary import bundle_lines, exit_code, next_lines


@click.command("deploy")
@targets_options
@export_options
@capabilities_option
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Targets at a time (default: the cores).")
@click.option("--inputs", type=IMAGES, metavar="DIR", help="Photographs to judge on, beside the seeded cases.")
@against_option
@max_error_option
@float32_truth_option
@require_option
@format_option
@output_options
def command(
    targets: tuple[str, ...],
    jobs: int | None,
    require: tuple[str, ...],
    formats: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Export each TARGET, judge every step, and write a bundle.

    Every graph is judged against PyTorch in float64, on sizes and values over the whole claimed range. That of an ONNX
    file is judged against its own float64, or against the PyTorch module that --against names.

    \b
    TARGET    cbam                             a block alone
              resnet50+cbam                    in a backbone, at its paper's place
              resnet50+eca:k=3@stage3,stage4   options after ':', places after '@'
              mynet.py                         your own file: its make(), or its only module; with --shape
              mynet.py:Net                     a class, a factory or a module in it
              py:package.module:factory        the same by its import name
              resnet50+mynet.py:Gate@layer4    your own block in a backbone
              torchvision:NAME                 a model of a library, also transformers:NAME, ultralytics:NAME
              net.pt2                          a program that torch.export.save wrote; with --trust
              onnx:model.onnx, model.onnx      an ONNX file that something else wrote
    """
    wanted = Formats(formats, as_json=as_json)
    with wanted.errors_of(", ".join(targets)):
        if len(targets) > 1:
            _refuse_options_of_one(targets, {**options, "formats": formats or None})
        check(require)

    def run(target: str) -> int:
        return _deploy(target, wanted, options)

    if len(targets) == 1:
        return run(targets[0])
    from ..engines.timing.machine import physical_cores
    from ..modules.packages import load
    from ..workflows.place import DEFAULT_FOLDER
    from .several import run_each

    bundles = [DEFAULT_FOLDER / file_name(target) / MANIFEST for target in targets]
    is_there = all(bundle.is_file() for bundle in bundles) and not options["force"]
    if not is_there and any(onnx_path(target) is None for target in targets):
        with stages() as progress:
            progress("loading PyTorch")
            load()
    return run_each(targets, run, jobs=min(len(targets), jobs or physical_cores()), as_json=as_json)


def _refuse_options_of_one(targets: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise InputError for what can only be meant for one target, and for a target that is there twice."""
    for name, flag in (("out", "-o"), ("checkpoint", "--checkpoint"), ("formats", "--format")):
        if options[name] is not None:
            raise InputError(
                f"received {flag} with {len(targets)} targets; expected one target with it; "
                f"give them one at a time, or leave {flag} out"
            )
    names = [file_name(target) for target in targets]
    for number, target in enumerate(targets):
        if names.index(names[number]) < number:
            raise InputError(f"received {target} twice, for one folder; expected each target once; leave one out")


def _deploy(target: str, wanted: Formats, options: Mapping[str, Any]) -> int:
    """Deploy one target and print what was found of it; return the exit code."""
    from ..report.formats.finding import outcome_of
    from ..validate.verdict import Verdict
    from ..workflows.deploy import deploy

    with wanted.errors_of(target), stages() as progress:
        bundle = deploy(target, progress=progress, **deploy_options(options))
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    about = {"path": str(bundle.path), "passed": bool(verdict), "reused": bundle.reused}
    lines = [*bundle_lines(bundle), *(next_lines(bundle) if verdict else [])]
    outcome = outcome_of(bundle.name, verdict, bundle.manifest, str(bundle.path))
    wanted.show(outcome, verdict, lambda: {**about, **bundle.manifest}, lines)
    return exit_code(verdict)
