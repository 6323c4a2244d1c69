"""``attn2trt report``: what people look at."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.manifest import REPORT
from ..errors import InputError
from .options import output_options
from .out_file import out_file
from .output import print_json, print_lines
from .parameters import PATH, Readable


@click.command("report")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...", type=PATH)
@click.option("-o", "--out", type=PATH, metavar="FILE", help="Write the page there instead of into BUNDLE.")
@click.option(
    "--add",
    multiple=True,
    type=Readable("what attn2trt cost or attn2trt benchmark writes with -o"),
    metavar="FILE",
    help="A document that attn2trt cost or benchmark wrote with -o: it becomes part of BUNDLE.",
)
@click.option("--force", is_flag=True, help="Replace a file there that no command of attn2trt wrote.")
@output_options
def command(bundles: tuple[Path, ...], out: Path | None, add: tuple[Path, ...], force: bool, as_json: bool) -> None:
    """Write the HTML page of BUNDLE, or one page of several.

    Without -o it goes into the bundle; with -o several bundles stand side by side.

    One file without scripts that needs no network: the verdict by stage and case, the place of the error, precision,
    cost, latency, the graph's interface, and how it was made.
    """
    if out is None and len(bundles) > 1:
        raise InputError(f"received {len(bundles)} bundles; expected -o with them; give one, as -o page.html")
    if add and len(bundles) > 1:
        raise InputError(f"received --add with {len(bundles)} bundles; expected one; add to each by itself")
    file = out_file(out, force=force, example="page.html")
    from ..workflows.report import report_bundle, report_page

    if add or file is None:
        report_bundle(bundles[0], add=add)
    page = bundles[0] / REPORT if out is None else out
    if file is not None:
        file.write_text(report_page(bundles))
    if as_json:
        print_json({"bundles": [str(bundle) for bundle in bundles], "page": str(page)})
    else:
        print_lines(str(page))
