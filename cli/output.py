"""The output of the commands: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ..core.processes import leave_if_copy, note
from ..core.progress import Counted, Remark
from .streams import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

Progress = Callable[[str], None]
log = logging.getLogger(__name__)


def print_json(document: Any) -> None:
    """Print one JSON document. Strict JSON has no NaN and no infinity: they are printed as strings."""
    leave_if_copy()
    click.echo(json.dumps(strict(document), indent=2, allow_nan=False, default=str))


def strict(value: Any) -> Any:
    """The document with every NaN and infinity as a string."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


def print_rich(*renderables: RenderableType, pipe_width: int = 160) -> None:
    """Print tables and text on stdout; a pipe gets them plain and unfolded enough to be searched.

    A line of text is left to the terminal to fold: a command or a path in it is copied as it is.
    """
    from rich.console import Console
    from rich.text import Text

    leave_if_copy()
    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else pipe_width, highlight=False)
    # by itself it ends the process with exit code 1, which is a failed verdict
    console.on_broken_pipe = _raise_again  # type: ignore[method-assign]
    for renderable in renderables:
        _keep_words(renderable)
        console.print(_Printable(renderable), soft_wrap=terminal and isinstance(renderable, Text))


def _keep_words(renderable: RenderableType) -> None:
    """Let the cells of every table fold a word that is too long for them: rich would cut it."""
    from rich.console import Group
    from rich.table import Table

    if isinstance(renderable, Group):
        for part in renderable.renderables:
            _keep_words(part)
    elif isinstance(renderable, Table):
        for column in renderable.columns:
            column.overflow = "fold"


@dataclass(frozen=True)
class _Printable:
    """Drop the control characters that a name in the text may hold; colours are added after that."""

    shown: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        for segment in console.render(self.shown, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def print_note(text: str) -> None:
    """Print a line on stderr about something that the result does not depend on."""
    leave_if_copy()
    click.echo(f"note: {printable(text)}", err=True)


def print_lines(text: str) -> None:
    """Print lines of text."""
    leave_if_copy()
    click.echo(printable(text))


def _raise_again() -> NoReturn:
    raise  # noqa: PLE0704 - called where a broken pipe is handled


@contextmanager
def stages() -> Iterator[Progress]:
    """Show the stage that is running, on stderr, and how long each took; silent if stderr is not a terminal.

    The guard of the process and the log hear of each stage in any case. Until it ends, whatever a user's module prints
    goes to stderr: stdout is for the result.
    """
    with redirect_stdout(sys.stderr):
        if not sys.stderr.isatty() or log.isEnabledFor(logging.INFO):
            yield _begin
            return
        from rich.console import Console

        with _spinner(Console(stderr=True, highlight=False)) as progress:
            yield progress


def _begin(stage: str) -> None:
    """Tell the guard and the log of a stage."""
    note(stage=stage)
    if isinstance(stage, Remark):
        print_note(stage)
    elif not isinstance(stage, Counted):
        log.info("%s", stage)


@dataclass(frozen=True)
class _Running:
    """Show a stage with the seconds since it ``began``, each time that it is drawn."""

    text: str
    began: float

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        return Text.assemble(self.text, (f"  {time.perf_counter() - self.began:.0f} s", "dim"))


@contextmanager
def _spinner(console: Console) -> Iterator[Progress]:
    from rich.text import Text

    running: list[tuple[str, float]] = []

    def finish() -> None:
        if running:
            text, began = running.pop()
            console.print(Text(f"{time.perf_counter() - began:7.1f} s  {text}", style="dim"))

    with console.status("") as status:

        def start(text: str) -> None:
            note(stage=text)
            if isinstance(text, Remark):
                console.print(Text(f"note: {printable(text)}"))
                return
            is_next = isinstance(text, Counted) and running and isinstance(running[-1][0], Counted)
            began = running.pop()[1] if is_next else time.perf_counter()
            finish()
            running.append((type(text)(printable(text)), began))
            status.update(_Running(text, running[-1][1]))

        yield start
        finish()
