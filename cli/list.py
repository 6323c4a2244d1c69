"""``attn2trt list``: what can be deployed."""

from __future__ import annotations

from dataclasses import asdict

import click

from .options import output_options
from .output import print_json, print_rich


@click.command("list")
@click.argument("kind", type=click.Choice(["blocks", "backbones", "libraries"]), required=False)
@click.option(
    "--supports",
    type=click.Choice(["dynamic", "batch", "height", "width"]),
    multiple=True,
    help="Only what this axis may be dynamic for; dynamic: height and width.",
)
@output_options
def command(kind: str | None, supports: tuple[str, ...], as_json: bool) -> None:
    """List the blocks, backbones and libraries for a TARGET.

    Blocks and backbones with paper, parameters and multiply-accumulates, libraries with some of their models.

    \b
    attn2trt list                       everything
    attn2trt list blocks --supports dynamic
    """
    from ..modules.block_index import ALL_AXES
    from ..modules.catalog import KINDS, entries

    axes = {axis for name in supports for axis in (("height", "width") if name == "dynamic" else (name,))}
    kinds = {f"{name[:-1]}ies" if name.endswith("y") else f"{name}s": name for name in KINDS}
    found = entries(kinds=(kinds[kind],) if kind else KINDS, supports=axes)
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    from rich.table import Table
    from rich.text import Text

    notes = {
        "block": "at 64 channels of 56x56, or of 14x14 if only the batch may vary",
        "backbone": "without a block",
    }
    for name, note in notes.items():
        of_kind = [entry for entry in found if entry.kind == name]
        if not of_kind:
            continue
        columns = ["name", "year", "parameters", "MACs", "what it is", "options", "may vary", "paper"]
        if name == "block":
            columns.insert(7, "in a ResNet, if not as se")
        table = Table(*columns, title=f"{name}s ({note}; MACs of one image)")
        for entry in of_kind:
            options = ", ".join(f"{option}={default}" for option, default in entry.options.items())
            numbers = (f"{count:,}" if count is not None else "" for count in (entry.parameters, entry.macs))
            varying = "all" if entry.axes == ALL_AXES else ", ".join(entry.axes)
            paper = entry.paper.replace("https://arxiv.org/abs/", "arXiv:").removeprefix("https://")
            where = [entry.places.get("ResNet", "")] if name == "block" else []
            row = (entry.name, str(entry.year or ""), *numbers, entry.summary, options, varying, *where, paper)
            table.add_row(*map(Text, row))
        print_rich(table)
    if of_kind := [entry for entry in found if entry.kind == "library"]:
        table = Table("library", "installed", "what it has", "some names", title="libraries (LIBRARY:NAME)")
        for entry in of_kind:
            names = "\n".join(f"{entry.name}:{name}" for name in entry.examples)
            what = f"{entry.summary} ({entry.licence})" if entry.licence else entry.summary
            table.add_row(*map(Text, (entry.name, entry.installed or "no", what, names)))
        print_rich(table)
    print_rich("Put them together: BACKBONE+BLOCK:option=value@stage3,stage4, e.g. resnet50+eca:k=3@stage3")
    print_rich("Any other timm model name works too, and your own FILE.py or py:package.module:factory --shape …")
