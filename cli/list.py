"""``attn2trt list``: what can be deployed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from .options import output_options
from .output import print_json, print_rich

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

    from ..modules.listing import Entry

TITLES = {
    "block": "blocks (at 64 channels of 56x56, or of 14x14 if only the batch may vary; MACs of one image)",
    "backbone": "backbones (without a block; MACs of one image)",
    "library": "libraries (LIBRARY:NAME)",
}
WHOLE = 1 << 16  # a width in which no line is folded


@click.command("list")
@click.argument("kind", type=click.Choice(["blocks", "backbones", "libraries"]), required=False)
@click.option(
    "--supports",
    type=click.Choice(["dynamic", "batch", "height", "width"]),
    multiple=True,
    help="Only those for which this axis may vary; dynamic: height and width both.",
)
@output_options
def command(kind: str | None, supports: tuple[str, ...], as_json: bool) -> None:
    """List the blocks, backbones and libraries for a TARGET.

    Blocks and backbones with paper, parameters and multiply-accumulates, libraries with some of their models. A
    terminal that is too narrow for the table gets a paragraph for each, a pipe a line.

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
    print_rich(*listing(found), pipe_width=WHOLE)


def listing(entries: Sequence[Entry]) -> list[RenderableType]:
    """Return what is printed of each kind of entry."""
    of_kind = {kind: [entry for entry in entries if entry.kind == kind] for kind in TITLES}
    return [Listing(TITLES[kind], [_facts(entry) for entry in found]) for kind, found in of_kind.items() if found]


def _facts(entry: Entry) -> dict[str, str]:
    """Return what the list says of an entry, by the column."""
    from ..modules.block_index import ALL_AXES

    if entry.kind == "library":
        what = f"{entry.summary} ({entry.licence})" if entry.licence else entry.summary
        names = ", ".join(f"{entry.name}:{name}" for name in entry.examples)
        installed = entry.installed or "not installed"
        return {"library": entry.name, "version": installed, "what it has": what, "some names": names}
    facts = {
        "name": entry.name,
        "year": str(entry.year or ""),
        "parameters": "" if entry.parameters is None else f"{entry.parameters:,}",
        "MACs": "" if entry.macs is None else f"{entry.macs:,}",
        "what it is": entry.summary,
        "options": ", ".join(f"{option}={default}" for option, default in entry.options.items()),
        "may vary": "all" if entry.axes == ALL_AXES else ", ".join(entry.axes),
    }
    if entry.kind == "block":
        facts["in a ResNet, if not as se"] = entry.places.get("ResNet", "")
    paper = entry.paper.replace("https://arxiv.org/abs/", "arXiv:").removeprefix("https://")
    return {**facts, "paper": paper}


@dataclass(frozen=True)
class Listing:
    """The entries of one kind: a table if it is no wider than the terminal, else a paragraph for each entry.

    Attributes:
        title: The kind.
        rows: What is said of each entry, by the column. The first is its name.
    """

    title: str
    rows: Sequence[dict[str, str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.measure import Measurement

        table = self._table()
        needed = Measurement.get(console, options.update(width=WHOLE), table).maximum
        if needed <= options.max_width:
            yield table
        else:
            yield from self._paragraphs()

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(*self.rows[0], title=self.title)
        for row in self.rows:
            table.add_row(*map(Text, row.values()))
        return table

    def _paragraphs(self) -> Iterator[RenderableType]:
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        yield Text(self.title, style="italic")
        for row in self.rows:
            facts = {column: text for column, text in row.items() if text and (column, text) != ("may vary", "all")}
            (_, name), *others = facts.items()
            short = [text if column not in COUNTS else f"{text} {column}" for column, text in others if column in HEAD]
            yield Text.assemble("\n", (name, "bold"), f"  {', '.join(short)}")
            grid = Table.grid("", "", padding=(0, 2))
            grid.columns[0].no_wrap, grid.columns[1].overflow = True, "fold"
            for column, text in others:
                if column not in HEAD:
                    grid.add_row(Text(column.partition(",")[0], style="dim"), Text(text))
            yield Padding(grid, (0, 0, 0, 2))


COUNTS = frozenset({"parameters", "MACs"})
HEAD = COUNTS | {"year", "version"}  # stand beside the name
