"""``attn2trt sweep``: a matrix of commands, on this machine or on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from .options import output_options
from .output import print_json, print_lines, print_note, print_rich
from .parameters import PATH, Number


@click.command("sweep")
@click.argument("file", type=PATH)
@click.option("-o", "--out", type=PATH, metavar="DIR", help="The results (default: FILE without its ending).")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Jobs at a time (default: the cores).")
@click.option("--ray", metavar="ADDRESS", help="Run on this Ray cluster; auto: the one of this machine.")
@click.option("--shared", is_flag=True, help="With --ray: DIR is on storage that every node sees at the same path.")
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="How often to run a job again if its process was killed or its node was lost.",
)
@click.option(
    "--patience",
    type=Number(zero=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="With --ray: how long a job waits for a node that can run it.",
)
@click.option("--resume", is_flag=True, help="Go on in DIR: run what is missing or would be different now.")
@click.option("--force", is_flag=True, help="Go on in DIR, but run every job.")
@click.option("--csv", "as_csv", is_flag=True, help="The table as CSV on stdout instead of text.")
@output_options
def command(file: Path, as_csv: bool, as_json: bool, **options: Any) -> int:
    """Run a matrix of commands that FILE describes.

    FILE is TOML: the verbs (deploy, compile, benchmark …), the targets, and what varies. Every job is a command of its
    own. A job that fails does not stop the others.

    The results are in DIR, each whole as soon as it is there: an interrupted sweep goes on with --resume.
    """
    if as_csv and as_json:
        raise InputError("received --csv and --json; expected one of them on stdout; DIR holds both in any case")
    from ..report.sweep_table import sweep_csv, sweep_summary, sweep_table
    from ..workflows.sweep import sweep
    from .sweep_progress import progress_lines

    try:
        with progress_lines() as progress, _without_words_of_ray(options["ray"]):
            found = sweep(file, progress=progress, **options)
    except KeyboardInterrupt:
        print_note("every result that is whole stays; the same command with --resume goes on")
        raise
    if as_json:
        print_json(found.to_json())
    elif as_csv:
        print_lines(sweep_csv(found.rows).removesuffix("\n"))
    else:
        print_rich(sweep_table(found.rows))
        print_lines(sweep_summary(found.rows))
        print_lines(f"results  {found.path}")
        if found.report is not None:
            print_lines(f"report   {found.report}")
    for note in found.notes:
        print_note(note)
    return found.exit_code


@contextlib.contextmanager
def _without_words_of_ray(address: str | None) -> Iterator[None]:
    """Keep what Ray prints about its nodes off stdout, which is for the result: each job that is lost is a line."""
    if address is None:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as null, contextlib.redirect_stdout(null):  # noqa: PTH123
        yield
    sys.stdout.flush()
