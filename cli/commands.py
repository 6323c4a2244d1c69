"""The command group: each command is imported when it is named."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from ..core.command_line import HELP, HELP_OPTIONS, CommandLine
from ..core.nearest import nearest
from ..errors import StorageError
from .ending import explain, finish
from .options import debug_option, verbose_option
from .parameters import refuse_empty, refuse_missing_value, refuse_not_utf8, refuse_repeated

COMPLETION = "_ATTN2TRT_COMPLETE"  # what click reads, for the name of the program
PRINTING = frozenset({HELP, *HELP_OPTIONS, "list", "show", "doctor"})  # they do nothing else
# In the order in which a new user needs them; each is a file beside this one that holds `command`.
COMMANDS = (
    *("list", "show", "doctor", "deploy", "export", "compile", "validate", "verify", "check"),
    *("benchmark", "cost", "tune", "sweep", "report", "triton", "programs", "plugin"),
)

GREETING = """\
attn2trt takes vision models from PyTorch to ONNX and TensorRT, and proves every step.

Begin with one of these:
  attn2trt deploy resnet50+cbam                    a catalogue model with a block, into a checked bundle
  attn2trt deploy mynet.py --shape 2x3x224x224     your own network: the file's make(), or its only module
  attn2trt check model.onnx                        an ONNX file that you have
  attn2trt doctor                                  what this machine can run

attn2trt --help lists the commands, attn2trt help deploy a command's options."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named, and whose ``main`` never shows a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{cmd_name}", __package__).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] == HELP:
            if args[1:] in ([], [HELP]):
                click.echo(ctx.get_help())
                ctx.exit()
            args = [args[1], "--help"]
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = nearest(args[0], COMMANDS, "correct it")
            raise click.UsageError(f"received command '{args[0]}'; expected one of {', '.join(COMMANDS)}; {hint}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        refuse_not_utf8(rest)
        if command is not None:
            context = click.Context(command, info_name=name, parent=ctx)
            refuse_missing_value(context, rest)
            refuse_repeated(context, rest)
            if any(not word or word.endswith("=") for word in rest):
                refuse_empty(context, rest)
        return name, command, rest

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the arguments; the help and the version are printed here, and may meet a closed pipe, too."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError as error:
            raise StorageError(explain(error)[0]) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. click would end the process with exit code 1, a failed verdict, for a closed pipe.

        Of an interrupt it would make two lines.
        """
        _require_current_folder()
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if error.ctx is None and ctx.invoked_subcommand in COMMANDS:  # of an option without its value
                error.ctx = click.Context(self, info_name=ctx.invoked_subcommand, parent=ctx)
            raise
        except KeyboardInterrupt as stop:
            raise click.Abort from stop
        except BrokenPipeError as error:
            raise StorageError(explain(error)[0]) from error

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run the command line ``args`` (default: the process's own) and exit with the code its outcome has."""
        if COMPLETION in os.environ:  # a shell asks, and click answers and ends the process
            super().main(args, *rest, **extra)
        arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        extra.setdefault("obj", CommandLine(arguments))  # what a bundle says of how it was made
        # Both are read from the arguments themselves: parsing them may be what fails.
        finish(
            lambda: super(LazyGroup, self).main(arguments, *rest, **extra),
            debug="--debug" in arguments,
            only_prints=not PRINTING.isdisjoint(arguments),
        )


def _require_current_folder() -> None:
    """Raise StorageError if the current folder was removed: PyTorch's libraries end a process there."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise StorageError(
            "the current folder was removed; expected one that is there; go to another with cd, and run this again"
        ) from None


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": HELP_OPTIONS},
)
@click.version_option(package_name="attn2trt", message="%(prog)s %(version)s")
@verbose_option
@debug_option
@click.pass_context
def group(context: click.Context, /) -> None:
    """Take vision models with attention from PyTorch to ONNX and TensorRT, and prove that nothing changed on the way.

    \b
    attn2trt deploy resnet50+cbam            a backbone with a block, into a checked bundle
    attn2trt deploy mynet.py --shape 2x3x224x224
    attn2trt validate bundles/resnet50+cbam  the same verdict again, without PyTorch
    attn2trt check model.onnx                an ONNX file that something else wrote
    attn2trt benchmark resnet50+cbam         how fast, in every runtime of this machine
    attn2trt cost resnet50+cbam              what the block costs, beside what it must cost

    Exit codes: 0 passed, 1 a verdict or a hash failed, 2 bad usage or input, 3 a requirement is missing here,
    4 reading or writing failed.
    """
    if context.invoked_subcommand is None:
        click.echo(GREETING, err=True)
        context.exit(click.UsageError.exit_code)
