"""A file that a command writes: its place is free or ours, checked before the work, and it is written whole or not.

Ours is a regular file that a command wrote: a document that names its command, a plot with that title, a page, or a
verdict.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.destination import bundle_around, why_not_writable
from ..core.typed_json import parsed
from ..errors import InputError, StorageError
from .output import strict

log = logging.getLogger(__name__)
TITLE = "attn2trt cost"  # of a plot
# The commands that write a document. A bundle and a sweep have a command in theirs too, and are no such file.
COMMANDS = ("attn2trt benchmark", TITLE)
PAGE = '<meta name="generator" content="attn2trt report">'
BEGIN = 2048  # bytes, in which a page says what made it
# How a verdict as Markdown and as JUnit begins
FORMATS = (b"<!-- attn2trt ", b'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="attn2trt"')
# How a picture begins, and where it has its title: PNG's text chunk, and SVG's metadata
PLOTS = ((b"\x89PNG", f"tEXtTitle\0{TITLE}".encode()), (b"<?xml", f"<dc:title>{TITLE}</dc:title>".encode()))
LARGEST_BYTES = 64 << 20  # a larger file is none of ours


@dataclass(frozen=True)
class OutFile:
    """The place of a file, made absolute before user code runs, which may change the folder.

    Attributes:
        path: The absolute path.
        given: The option and the path, as the user wrote them.
        example: A path that would do.
        force: Replace a regular file whatever it is.
    """

    path: Path
    given: str
    example: str
    force: bool

    def write_document(self, document: Mapping[str, Any]) -> None:
        """Write JSON. Raises what ``check`` raises."""
        self.write_text(json.dumps(strict(document), indent=1) + "\n")

    def write_text(self, text: str) -> None:
        """Write a text. Raises what ``check`` raises."""
        self.write(lambda path: path.write_text(text, encoding="utf-8", errors="replace"))

    def write(self, write: Callable[[Path], object]) -> None:
        """Have ``write`` make the whole file or none; what it writes to has the suffix of the file."""
        partial = self.path.with_name(f".partial-{os.getpid()}{self.path.suffix}")
        try:
            write(partial)
            self.check()  # something may have been put there meanwhile
            partial.replace(self.path)
            log.info("wrote %s: %s bytes", self.path, f"{self.path.stat().st_size:,}")
        finally:
            partial.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise InputError unless the place is free or ours, StorageError if it cannot be written to."""
        parent = self.path.parent
        if self.path.name == "-":
            self._refuse("as other tools name their stdout", "the name of a file")
        if not parent.is_dir():
            self._refuse("a file in a folder that does not exist", "the name of a file")
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            mode = None
        if mode is not None and stat.S_ISDIR(mode):
            self._refuse("a folder", "the name of a file")
        if mode is not None and not stat.S_ISREG(mode):
            self._refuse("a link, device, FIFO or socket", "a regular file or none")
        if (bundle := bundle_around(parent)) is not None:
            self._refuse(f"a file in the bundle {bundle.name}, which holds its own alone", "one in no bundle")
        if mode is not None and not self.force and not _is_ours(self.path):
            self._refuse("a file that this command did not write", "one that it did, or none, or --force")
        if why := why_not_writable(parent):
            raise StorageError(
                f"received {self.given}; expected a folder that can be written to ({why}); choose another"
            )

    def _refuse(self, what: str, expected: str) -> None:
        raise InputError(f"received {self.given}, {what}; expected {expected}; give one, as {self.example}")


def out_file(out: Path | None, *, force: bool, option: str = "-o", example: str) -> OutFile | None:
    """Return the place of a file, checked now: later, its numbers would be lost."""
    if out is None:
        return None
    found = OutFile(Path.cwd() / out, f"{option} {out}", f"{option} {example}", force)
    found.check()
    return found


def _is_ours(path: Path) -> bool:
    if path.stat().st_size > LARGEST_BYTES:
        return False
    content = path.read_bytes()
    line = content.partition(b"\n")[0]
    return (
        content.startswith(FORMATS)
        or (line.startswith(b"::") and b"title=attn2trt " in line)  # annotations of GitHub
        or (content.startswith(b"<!DOCTYPE html>") and PAGE.encode() in content[:BEGIN])
        or any(content.startswith(begin) and title in content for begin, title in PLOTS)
        or _is_document(content)
    )


def _is_document(content: bytes) -> bool:
    """Return True for what ``benchmark`` or ``cost`` wrote, and for a verdict as SARIF."""
    try:
        document = parsed(content)
        is_sarif = "runs" in document and document["runs"][0]["tool"]["driver"]["name"] == "attn2trt"
        return bool(is_sarif or document.get("command") in COMMANDS)
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
