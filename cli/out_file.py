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

from ..core.destination import why_not_writable
from ..errors import InputError, StorageError
from .output import strict

log = logging.getLogger(__name__)
TITLE = "attn2trt cost"  # of a plot
# PNG's text chunk, the title in SVG's metadata, the generator of a page, and how JUnit, SARIF and Markdown begin
FORMATS = (b'<testsuites name="attn2trt"', b'"name": "attn2trt"', b"<!-- attn2trt ", b"title=attn2trt ")
PAGE = '<meta name="generator" content="attn2trt report">'
MARKS = (f"tEXtTitle\0{TITLE}".encode(), f"<dc:title>{TITLE}</dc:title>".encode(), PAGE.encode(), *FORMATS)
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
    if any(mark in content for mark in MARKS):
        return True
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and str(document.get("command")).startswith("attn2trt ")
