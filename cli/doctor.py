"""``attn2trt doctor``: what this machine can run."""

from __future__ import annotations

from dataclasses import asdict

import click

from .options import output_options, require_option
from .output import print_json, print_rich

STYLES = {"usable": "green", "unusable": "red", "missing": "yellow"}


@click.command("doctor")
@require_option
@output_options
def command(require: tuple[str, ...], as_json: bool) -> None:
    """List what this machine can run, and the fix for the rest."""
    from ..engines.environment import probe

    environment = probe()
    if as_json:
        print_json({"components": [asdict(component) for component in environment.components]})
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table("component", "status", "version", "detail", "fix")
        for found in environment.components:
            status = Text(found.status, style=STYLES.get(found.status, ""))
            table.add_row(Text(found.name), status, *map(Text, (found.version or "", found.detail, found.fix)))
        print_rich(table)
    from .requirements import check

    check(require, environment)
