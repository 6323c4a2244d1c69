"""``attn2trt list``: what can be deployed."""

from __future__ import annotations

from dataclasses import asdict

import click

from .options import output_options
from .output import print_json, print_rich


@click.command("list")
@output_options
def command(as_json: bool) -> None:
    """What can be deployed: blocks and backbones, with paper and parameter count."""
    from ..modules.catalog import entries

    found = entries()
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    from rich.table import Table
    from rich.text import Text

    for kind, note in (("block", "parameters at 64 channels"), ("backbone", "parameters without a block")):
        table = Table("name", "parameters", "what it is", "options", "paper", title=f"{kind}s ({note})")
        for entry in (entry for entry in found if entry.kind == kind):
            count = f"{entry.parameters:,}" if entry.parameters is not None else ""
            options = ", ".join(f"{name}={default}" for name, default in entry.options.items())
            table.add_row(*map(Text, (entry.name, count, entry.summary, options, entry.paper)))
        print_rich(table)
    print_rich("Put them together: BACKBONE+BLOCK:option=value@stage3,stage4, e.g. resnet50+eca:k=3@stage3")
    print_rich("Any other timm model name works too, and your own module: py:package.module:factory --shape …")
