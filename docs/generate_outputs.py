"""Write the outputs into the tutorial and the how-to pages, by running their commands in order in an empty folder.

``python docs/generate_outputs.py [PAGE...]`` writes a page's Python and TOML files, runs each block of shell commands,
and replaces what stands between the markers behind it; without PAGE it does so for every page that has such markers. A
marker may shorten the output and state the exit code: ``<!-- output, first 12 lines, exit code 1 -->``. The program
ends with an error if a block has another exit code. A block behind ``<!-- not run: REASON -->`` is left alone, and so
is a page with ``<!-- needs PACKAGE -->`` if that is not installed. ``<!-- run after: COMMANDS -->`` prepares what a
reader has and this machine may lack, in the same shell, with the repository in ``$REPOSITORY``. If the COMMANDS fail,
the block and its output are left as they are.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

DOCS = Path(__file__).parent
WIDTH = 118
UNPREPARED = 75  # the exit code of a shell whose preparation failed: EX_TEMPFAIL of sysexits.h
_FILE = re.compile(r"^```(?:python|toml)\n# (?P<name>\S+\.(?:py|toml))\n(?P<source>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(
    r"(?P<skipped>^<!-- not run: [^>]*-->\n\n?)?(?:^<!-- run after: (?P<before>[^\n]*) -->\n)?"
    r"^```sh\n(?P<commands>.*?)^```\n"
    r"(?:\n(?P<marker><!-- output(?:, first (?P<lines>\d+) lines)?(?:, exit code (?P<code>\d+))? -->\n)"
    r"(?P<output>.*?)<!-- end -->)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    """A block of commands, what the page shows of its output (None: nothing), and what it promises."""

    commands: str
    shown: str | None
    exit_code: int
    lines: int | None
    before: str = ""

    @classmethod
    def of(cls, found: re.Match[str]) -> Step:
        """Return the step of one match in the page."""
        lines = found["lines"]
        wanted, kept = int(found["code"] or 0), int(lines) if lines else None
        return cls(found["commands"], found["output"], wanted, kept, found["before"] or "")

    @property
    def script(self) -> str:
        """The commands as bash gets them, behind what prepares them."""
        prepared = f"{{ {self.before}; }} > /dev/null 2>&1 || exit {UNPREPARED}\n" if self.before else ""
        return prepared + self.commands

    def shorten(self, output: str) -> str:
        """Return the output as the page has it, in a block of text."""
        lines = [line.rstrip() for line in output.strip().splitlines()]
        kept = lines[: self.lines]
        return "\n".join(["```text", *kept, *(["…"] if len(kept) < len(lines) else []), "```", ""])


def lacking(page: str) -> str:
    """Return the first package that the page needs and that is not installed; "" if none is lacking."""
    return next((name for name in re.findall(r"<!-- needs (\w+) -->", page) if find_spec(name) is None), "")


def write_files(page: str, folder: Path) -> None:
    """Write the Python and TOML files of the page, and show it the examples if it names them."""
    if "examples/" in page:
        (folder / "examples").symlink_to(DOCS.parent / "examples")
    for found in _FILE.finditer(page):
        (folder / found["name"]).write_text(found["source"].lstrip("\n"), encoding="utf-8")


def steps(page: str) -> list[Step]:
    """Return the page's blocks of commands, in order, without those that are not run."""
    return [Step.of(found) for found in _COMMANDS.finditer(page) if not found["skipped"]]


def run(found: list[Step], folder: Path) -> Iterator[str | None]:
    """Yield what each step prints, run one after the other in ``folder``; None if it could not be prepared.

    SystemExit is raised for another exit code.
    """
    with tempfile.TemporaryDirectory() as name:
        for program, words in (("attn2trt", "-m attn2trt"), ("python", "")):
            Path(name, program).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            Path(name, program).chmod(0o755)
        places = f"{name}{os.pathsep}{os.environ['PATH']}"
        environment = {
            **os.environ,
            "PATH": places,
            "COLUMNS": str(WIDTH),
            "TERM": "dumb",
            "PYTHONIOENCODING": "utf-8",
            "REPOSITORY": str(DOCS.parent),
        }
        for step in found:
            ran = subprocess.run(
                ["bash", "-ec", step.script],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                encoding="utf-8",
                check=False,
            )
            if step.before and ran.returncode == UNPREPARED:
                yield None
                continue
            if ran.returncode != step.exit_code:
                raise SystemExit(
                    f"{step.commands}exit code {ran.returncode}, expected {step.exit_code}\n{ran.stderr}{ran.stdout}"
                )
            yield ran.stdout


def with_outputs(page: str, outputs: Sequence[str | None]) -> str:
    """Return the page with the outputs of its steps between the markers; None leaves one as it is."""
    left = iter(outputs)

    def replaced(found: re.Match[str]) -> str:
        output = None if found["skipped"] else next(left)
        if not found["marker"] or output is None:
            return found[0]
        before = found[0][: found.start("output") - found.start()]
        return f"{before}{Step.of(found).shorten(output)}<!-- end -->"

    return _COMMANDS.sub(replaced, page)


def pages() -> list[Path]:
    """Return the pages that show outputs, in order of their names."""
    return sorted(page for page in DOCS.rglob("*.md") if "<!-- output" in page.read_text(encoding="utf-8"))


def write(page: Path) -> None:
    """Run the commands of one page and write their outputs into it."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        write_files(text, Path(name))
        outputs = list(run(steps(text), Path(name)))
    page.write_text(with_outputs(text, outputs), encoding="utf-8")
    for step, output in zip(steps(text), outputs, strict=True):
        if output is None:
            print(f"{page}: a block is left as it is, since this failed: {step.before}")


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or pages():
        if package := lacking(path.read_text(encoding="utf-8")):
            print(f"{path}: left as it is, since {package} is not installed")
            continue
        write(path)
        print(path)
