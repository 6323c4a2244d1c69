"""The options of TensorRT's builder, for the commands that build plans on a GPU."""

from __future__ import annotations

import click

from ..engines.tensorrt.versions import TACTICS
from .options import Command, stack


def builder_options(command: Command) -> Command:
    """Options of TensorRT's builder for every plan."""
    return stack(
        command,
        click.option(
            "--workspace", type=click.IntRange(min=1), metavar="MIB", help="Most memory for one layer's kernels."
        ),
        click.option(
            "--level", type=click.IntRange(0, 5), help="Optimization level: 0 builds fastest, 5 runs fastest."
        ),
        click.option(
            "--without-tactics",
            multiple=True,
            type=click.Choice(TACTICS),
            help="Leave out a source of TensorRT's kernels, for instance cuBLAS or cuDNN that is not installed.",
        ),
    )
