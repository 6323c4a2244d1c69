"""The options of ``attn2trt validate`` for a server, and its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.bundle import open_bundle
from ..core.precision import PRECISIONS
from ..engines.triton.address import SECONDS
from ..errors import InputError
from .formats import Formats
from .options import Command, stack
from .output import print_note, stages
from .parameters import Number
from .summary import exit_code


def server_options(command: Command) -> Command:
    """Add the address of a server, and what is judged there."""
    return stack(
        command,
        click.option(
            "--server",
            metavar="URL",
            help="Judge a server instead of this machine: grpc://host:port or http://host:port, /model behind it.",
        ),
        click.option("--model", metavar="NAME", help="The server's model (default: every one that serves BUNDLE)."),
        click.option(
            "--model-version", type=click.IntRange(min=1), metavar="N", help="The model's version (default: all)."
        ),
        click.option(
            "--precision",
            type=click.Choice([*PRECISIONS]),
            help="Precision of the model's graph, if the server does not say which file it serves (default: fp32).",
        ),
        click.option(
            "--server-timeout",
            type=Number(),
            default=SECONDS,
            show_default=True,
            metavar="SECONDS",
            help="Time limit of every request.",
        ),
    )


def check_server_options(
    server: str | None, *, network: bool, model: str | None, version: int | None, precision: str | None
) -> None:
    """Raise InputError for options of a server without one, and for one that only this machine has."""
    named = {"--model": model, "--model-version": version, "--precision": precision}
    given = next((name for name, value in named.items() if value is not None), None)
    if server is None and given is not None:
        raise InputError(f"received {given} without --server; expected both; add --server grpc://host:port")
    if server is not None and network:
        raise InputError("received --network with --server; a server shows no modules; run one after the other")


def judge_server(bundle: Path, server: str, *, seconds: float, wanted: Formats, **choices: Any) -> int:
    """Print the verdict on a server and return the exit code. The bundle is not changed."""
    from ..report.formats.finding import outcome_of
    from ..workflows.validate import validate_server

    with wanted.errors_of(str(bundle)), stages() as progress:
        found = validate_server(bundle, server, seconds=seconds, progress=progress, **choices)
        opened = open_bundle(bundle)
    for served in found.served:
        if not served.wrong and not served.says_files:
            print_note(
                f"{served.model} does not say which file it serves: it is judged as {served.precision} by its numbers "
                "alone"
            )
    models = [{name: getattr(one, name) for name in ("model", "version", "precision")} for one in found.served]
    document = {
        "path": str(bundle),
        "server": {"address": server, "name": found.server},
        "models": models,
        "passed": bool(found),
        "verdict": found.verdict.to_json(),
    }
    listed = ", ".join(f"{one.model} version {one.version or 'of its choice'}, {one.precision}" for one in found.served)
    outcome = outcome_of(opened.name, found.verdict, opened.manifest, str(bundle))
    wanted.show(outcome, found.verdict, lambda: document, [f"server   {found.server} at {server}: {listed}"])
    return exit_code(found.verdict)
