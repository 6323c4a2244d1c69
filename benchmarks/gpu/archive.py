"""Everything that is worth carrying home in one file of bounded size, written anew after every step.

Each member is compressed by itself and packed without further work, so that a refresh costs only what is new.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .processes import LOGS
from .rows import FOLDER as ROWS

NAME = "gpu_check.tar"
LIMIT = 16 << 20
# A verbose builder's log reaches hundreds of MiB; the parser's words are at its beginning, an error at its end.
HEAD, TAIL = 2 << 20, 1 << 18
# Half of such a file is worth nothing.
WHOLE = (".cache",)
LEFT_OUT = "left_out.txt"
# The most wanted first: what does not fit any more is left out.
PATTERNS = (
    "*.json",
    f"{ROWS}/[!.]*.json",
    "builds/*/plans/*.layers.json",
    "plain/*.layers.json",
    f"{LOGS}/*.log",
    "builds/*/plans/*.log",
    "builds/*/plans/.partial-*/log",
    "plain/*.log",
    "bundles/*/bundle.json",
    "builds/*/bundle.json",
    "pages/*.html",
)
_BLOCK = 512
# A tar file ends with two empty blocks and is padded to its record.
_END = tarfile.RECORDSIZE


class Archive:
    """The archive of ``folder``, at ``path``, below ``limit`` bytes: the files of the patterns, in their order."""

    def __init__(self, folder: Path, path: Path, limit: int = LIMIT, *, patterns: Sequence[str] = PATTERNS) -> None:
        self.path = path
        self._patterns = patterns
        self._folder = folder
        self._limit = limit
        self._packed: dict[Path, tuple[tuple[int, int], bytes]] = {}

    def refresh(self) -> list[str]:
        """Write it; returns the names of what did not fit, which are in it, too."""
        members: list[tuple[str, bytes]] = []
        left_out: list[str] = []
        # The list of what does not fit has room for every name that there is.
        files = list(self._files())
        size = _END + _size(sum(len(self._name(file)) + 1 for file in files))
        for file in files:
            packed = self._pack(file)
            name = f"{self._name(file)}.gz"
            if packed is None:
                continue
            if size + _size(len(packed)) < self._limit:
                size += _size(len(packed))
                members.append((name, packed))
            else:
                left_out.append(self._name(file))
        if left_out:
            members.append((LEFT_OUT, "\n".join(left_out).encode()))
        self._write(members)
        return left_out

    def _files(self) -> Iterator[Path]:
        for pattern in self._patterns:
            yield from sorted(file for file in self._folder.glob(pattern) if file.is_file())

    def _name(self, file: Path) -> str:
        return file.relative_to(self._folder).as_posix()

    def _pack(self, file: Path) -> bytes | None:
        """The file, compressed; None if it has gone."""
        try:
            about = file.stat()
            state = (about.st_mtime_ns, about.st_size)
            if file not in self._packed or self._packed[file][0] != state:
                self._packed[file] = (state, gzip.compress(_shortened(file, about.st_size), compresslevel=6, mtime=0))
        except OSError:
            return None
        return self._packed[file][1]

    def _write(self, members: list[tuple[str, bytes]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial-{os.getpid()}")
        try:
            with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as tar:
                for name, content in members:
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)


def _size(content: int) -> int:
    """Bytes that a member takes: a header, which a long name doubles and more, and whole blocks."""
    return 4 * _BLOCK + -(-content // _BLOCK) * _BLOCK


def _shortened(file: Path, size: int) -> bytes:
    with file.open("rb") as stream:
        if size <= HEAD + TAIL or file.suffix in WHOLE:
            return stream.read()
        head = stream.read(HEAD)
        stream.seek(-TAIL, os.SEEK_END)
        return head + f"\n… {size - HEAD - TAIL} bytes left out …\n".encode() + stream.read(TAIL)
