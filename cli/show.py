"""``attn2trt show``: what a target is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .options import output_options, shape_options, trust_option
from .output import print_json, print_rich, stages

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..modules.describe import Description


@click.command("show")
@click.argument("target")
@shape_options
@trust_option
@output_options
def command(target: str, shapes: tuple[str, ...], dynamic: str | None, trust: bool, as_json: bool) -> None:
    """Show the cost, insertion points, options and shapes of TARGET.

    The cost is parameters and multiply-accumulates. Nothing is written.
    """
    from ..modules.describe import describe

    with stages() as progress:
        progress("running the target on shapes alone")
        found = describe(target, shapes=shapes, dynamic=dynamic, trust=trust)
    if as_json:
        print_json(asdict(found))
    else:
        print_rich(*_parts(found))


def _parts(found: Description) -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    source = found.source if found.source != found.name else ""
    yield Text(
        "  ".join(filter(None, (found.name, ", ".join(filter(None, (found.kind, source))), found.paper))), "bold"
    )
    for spec in found.inputs:
        yield Text(f"input       {spec}")
    if found.axes:
        yield Text("dynamic     " + ", ".join(f"{name} {axis}" for name, axis in found.axes.items()))
    cost, plain = found.cost, found.plain
    yield Text(f"parameters  {cost.parameters:,}{_more(cost.parameters, plain.parameters if plain else None)}")
    yield Text(f"MACs        {cost.macs:,}{_more(cost.macs, plain.macs if plain else None)} for {_metered(found)}")
    for block in found.blocks:
        yield Text(f"\n{block.name}  {block.summary}  {block.paper}")
        yield Text(f"may vary    {', '.join(block.axes)}{_fixed(block.axes)}")
        for family, where in block.places.items():
            yield Text(f"{family:11} {where}")
        for option in block.options:
            yield Text(f"option      {option.name}: {option.annotation} = {option.default}")
    if found.places:
        table = Table("place", "block", "input", "parameters", "MACs")
        for place in found.places:
            table.add_row(place.path, place.block, _size(place.shape), f"{place.parameters:,}", f"{place.macs:,}")
        yield table
    if found.steps:
        table = Table("module", "operator", "from", "to")
        for step in found.steps:
            table.add_row(step.module, step.operator, ", ".join(map(_size, step.shapes)), _size(step.result))
        yield table


def _metered(found: Description) -> str:
    is_image = all(len(shape) > 3 and shape[0] == 1 for shape in found.metered)
    return "one image" if is_image else " and ".join(map(_size, found.metered))


def _fixed(axes: Sequence[str]) -> str:
    return "" if "height" in axes else "; its weights belong to the one height and width that it is built for"


def _more(value: int, plain: int | None) -> str:
    return "" if plain is None else f"  ({plain:,} without blocks, {value - plain:+,}, {(value - plain) / plain:+.2%})"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
