"""The progress of a sweep on stderr: live on a terminal, else a line for each job that is done or died."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .streams import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..workflows.sweep import Progress

SHOWN = 16  # jobs that run, as lines


@contextmanager
def progress_lines() -> Iterator[Callable[[Progress], None]]:
    """Yield what shows the progress of a sweep."""
    if not sys.stderr.isatty():
        yield _print
        return
    from rich.console import Console
    from rich.live import Live

    stream = sys.stderr
    running = _Running()
    console = Console(file=stream, highlight=False)
    # stdout stays as it is: it is for the result
    with Live(running, console=console, refresh_per_second=4, transient=True, redirect_stdout=False) as live:

        def show(progress: Progress) -> None:
            from rich.text import Text

            running.take(progress)
            if progress.event.kind != "started":
                live.console.print(Text(printable(str(progress)), style=_style(progress)))

        yield show


def _print(progress: Progress) -> None:
    if progress.event.kind != "started":
        click.echo(printable(str(progress)), err=True)


def _style(progress: Progress) -> str:
    if progress.row is None:
        return "yellow"
    return "dim" if progress.row.status == "passed" else "red"


class _Running:
    """The jobs that run, with their seconds, each time that this is drawn."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[float, str]] = {}
        self._count = "starting the process that runs jobs"

    def take(self, progress: Progress) -> None:
        """Take in something that happened."""
        event = progress.event
        self._count = f"{progress.done} of {progress.total} jobs done"
        if event.kind == "started":
            self._since[event.task] = (time.monotonic(), str(event.node or ""))
        else:
            self._since.pop(event.task, None)

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        now = time.monotonic()
        lines = [f"{now - since:7.1f} s  {task}  {node}" for task, (since, node) in self._since.items()]
        more = [f"           and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        return Text("\n".join([printable(line) for line in [*lines[:SHOWN], *more, self._count]]), style="dim")
