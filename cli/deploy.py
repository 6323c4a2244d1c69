"""``attn2trt deploy``: from a target to a checked bundle."""

from __future__ import annotations

from typing import Any

import click

from .guard import note
from .options import IMAGES, export_options, max_error_option, output_options, require_option, target_options
from .output import print_json, print_rich, stages
from .requirements import check
from .summary import bundle_lines, exit_code, next_lines


@click.command("deploy")
@target_options
@export_options
@click.option("--inputs", type=IMAGES, metavar="DIR", help="Photographs to judge on, beside the seeded cases.")
@max_error_option
@require_option
@output_options
def command(target: str, require: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Export TARGET, simplify, check every step against PyTorch in float64, and write a bundle.

    \b
    TARGET    cbam                             a block alone
              resnet50+cbam                    in a backbone, where its paper puts it
              resnet50+eca:k=3@stage3,stage4   options after ':', places after '@'
              py:package.module:factory        your own module, with --shape
              resnet50+py:my.blocks:Mine@layer4
    """
    check(require)
    from ..pipeline import deploy, folder_of
    from ..validate.verdict import Verdict

    note(folder=str(folder_of(options["out"])))
    with stages() as progress:
        bundle = deploy(target, progress=progress, **options)
    verdict = Verdict.from_json(bundle.manifest["verdict"])
    if as_json:
        print_json({"path": str(bundle.path), "passed": bool(verdict), "reused": bundle.reused, **bundle.manifest})
        return exit_code(verdict)
    from rich.text import Text

    from ..report.table import verdict_table

    print_rich(verdict_table(verdict), *map(Text, bundle_lines(bundle)))
    if verdict:
        print_rich(*map(Text, next_lines(bundle)))
    return exit_code(verdict)
