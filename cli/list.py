"""``attn2trt list``: what can be deployed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .options import output_options
from .output import print_json, print_rich

if TYPE_CHECKING:
    from rich.table import Table

    from ..modules.listing import Entry

NOTES = {
    "block": "at 64 channels of 56x56, or of 14x14 if only the batch may vary",
    "backbone": "without a block",
}


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
    from ..modules.listing import KINDS, entries

    axes = {axis for name in supports for axis in (("height", "width") if name == "dynamic" else (name,))}
    kinds = {f"{name[:-1]}ies" if name.endswith("y") else f"{name}s": name for name in KINDS}
    found = entries(kinds=(kinds[kind],) if kind else KINDS, supports=axes)
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    for name, note in NOTES.items():
        if of_kind := [entry for entry in found if entry.kind == name]:
            print_rich(_modules(of_kind, f"{name}s ({note}; MACs of one image)"))
    if of_kind := [entry for entry in found if entry.kind == "library"]:
        print_rich(_libraries(of_kind))


def _modules(entries: Sequence[Entry], title: str) -> Table:
    """Return the table of blocks or of backbones."""
    from rich.table import Table
    from rich.text import Text

    from ..modules.block_index import ALL_AXES

    columns = ["name", "year", "parameters", "MACs", "what it is", "options", "may vary", "paper"]
    is_blocks = entries[0].kind == "block"
    if is_blocks:
        columns.insert(7, "in a ResNet, if not as se")
    table = Table(*columns, title=title)
    for entry in entries:
        options = ", ".join(f"{option}={default}" for option, default in entry.options.items())
        numbers = (f"{count:,}" if count is not None else "" for count in (entry.parameters, entry.macs))
        varying = "all" if entry.axes == ALL_AXES else ", ".join(entry.axes)
        paper = entry.paper.replace("https://arxiv.org/abs/", "arXiv:").removeprefix("https://")
        where = [entry.places.get("ResNet", "")] if is_blocks else []
        row = (entry.name, str(entry.year or ""), *numbers, entry.summary, options, varying, *where, paper)
        table.add_row(*map(Text, row))
    return table


def _libraries(entries: Sequence[Entry]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("library", "installed", "what it has", "some names", title="libraries (LIBRARY:NAME)")
    for entry in entries:
        names = "\n".join(f"{entry.name}:{name}" for name in entry.examples)
        what = f"{entry.summary} ({entry.licence})" if entry.licence else entry.summary
        table.add_row(*map(Text, (entry.name, entry.installed or "no", what, names)))
    return table
