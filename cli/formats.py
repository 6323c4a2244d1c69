"""``--format``: the verdict as continuous integration reads it, on stdout or in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError
from .ending import explain
from .out_file import OutFile, out_file
from .output import print_json, print_lines, print_rich
from .parameters import in_home

if TYPE_CHECKING:
    from ..report.formats.finding import Outcome
    from ..validate.verdict import Verdict

FORMATS = ("github", "junit", "sarif", "markdown")
UNFINISHED = "the run has not ended: it was killed, or is still going on; run it again"
# The file that GitHub shows as the summary of a job.
SUMMARY = "GITHUB_STEP_SUMMARY"

format_option = click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FORMAT[=FILE]",
    help="Print the verdict as github (annotations on lines of code), junit, sarif or markdown, or write it to FILE.",
)


class Formats:
    """The formats and files of ``--format``, checked before the work. Without any, it does nothing.

    Args:
        texts: The values of the option.
        as_json: True if ``--json`` is given as well.

    Raises:
        InputError: A format is unknown, two want stdout, or a file cannot be written to.
    """

    def __init__(self, texts: Sequence[str], *, as_json: bool) -> None:
        self._as_json = as_json
        self._files: list[tuple[str, OutFile | None]] = []
        for text in texts:
            name, separator, path = text.partition("=")
            if name not in FORMATS or (separator and not path):
                raise InputError(
                    f"received --format {text}; expected {', '.join(FORMATS)}, or one with a file, as "
                    "--format sarif=attn2trt.sarif"
                )
            place = in_home(path) if path else None
            file = out_file(place, force=False, option=f"--format {name}", example=f"{name}.out")
            if file is not None and file.path in [other.path for _, other in self._files if other is not None]:
                raise InputError(
                    f"received --format {text}, a file that another --format is written to; give each its own"
                )
            self._files.append((name, file))
        printed = [f"--format {name}" for name, file in self._files if file is None] + ["--json"] * as_json
        if len(printed) > 1:
            raise InputError(
                f"received {' and '.join(printed)}; expected one of them on stdout; write the others to files, as "
                f"{printed[0]}=FILE"
            )

    @property
    def is_printed(self) -> bool:
        """True if one of them takes stdout."""
        return any(file is None for _, file in self._files)

    def show(self, outcome: Outcome, verdict: Verdict, document: Callable[[], object], lines: Sequence[str]) -> None:
        """Write every format and, unless one of them takes stdout, print the verdict.

        Args:
            outcome: What the formats are written from.
            verdict: Printed as a table, with the ``lines`` below it.
            document: Returns what ``--json`` prints in place of them.
            lines: Facts beside the verdict.
        """
        self.write(outcome)
        if self._as_json:
            print_json(document())
        elif not self.is_printed:
            from rich.text import Text

            from ..report.table import verdict_table

            print_rich(verdict_table(verdict), *map(Text, lines))

    def write(self, outcome: Outcome) -> None:
        """Print or write every format; on GitHub, ``github`` adds the Markdown to the summary of the job."""
        for name, file in self._files:
            text = _text(name, outcome)
            if file is None:
                print_lines(text.removesuffix("\n"))
            else:
                file.write_text(text)
            if name == "github" and (summary := os.environ.get(SUMMARY)):
                with Path(summary).open("a", encoding="utf-8", errors="replace") as stream:
                    stream.write(_text("markdown", outcome))

    @contextmanager
    def errors_of(self, target: str) -> Iterator[None]:
        """Write an error that ends the command as well, then let it end it.

        Until then the files say that the run has not ended: none holds the verdict of an earlier one if it is killed.
        """
        from ..report.formats.finding import outcome_of_error

        for name, file in self._files:
            if file is not None:
                file.write_text(_text(name, outcome_of_error(target, UNFINISHED)))
        try:
            yield
        except Exception as error:
            if self._files:
                self.write(outcome_of_error(target, explain(error)[0]))
            raise


def _text(name: str, outcome: Outcome) -> str:
    write: Callable[[Any], str] = getattr(import_module(f"attn2trt.report.formats.{name}"), name)
    return write(outcome)
