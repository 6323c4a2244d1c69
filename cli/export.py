"""``attn2trt export``: a bundle without a verdict."""

from __future__ import annotations

from typing import Any

import click

from ..engines.tensorrt.targets import NONE
from ..errors import InputError
from .options import deploy_options, export_options, output_options, target_options
from .output import print_json, print_rich, stages
from .summary import bundle_lines


@click.command("export")
@target_options
@export_options
@output_options
def command(target: str, as_json: bool, **options: Any) -> int:
    """Export TARGET to a bundle whose numbers are not checked.

    Only the graph's contract is checked: names, types, dynamic dimensions, opset. No plan is built.
    """
    from ..validate.verdict import Verdict
    from ..workflows.deploy import deploy

    with stages() as progress:
        keywords = deploy_options({**options, "verdict": False})
        bundle = deploy(target, progress=progress, capabilities=NONE, **keywords)
    refused = Verdict.from_json(bundle.manifest["verdict"]).objections
    code = InputError.exit_code if refused else 0
    if as_json:
        print_json({"path": str(bundle.path), "reused": bundle.reused, **bundle.manifest})
        return code
    from rich.text import Text

    print_rich(*map(Text, bundle_lines(bundle)))
    print_rich(*(Text(f"refused  {stage.why}") for stage in refused))
    print_rich(Text("numbers  not checked: export only; attn2trt deploy with the same arguments checks them"))
    return code
