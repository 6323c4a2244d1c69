"""Give photographs and calibration files that are damaged, or none: taken, left out, or one line."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from attacks.record import Row, Scene


def png(claimed: tuple[int, int] = (16, 16)) -> bytes:
    """A grey photograph of 16 x 16 pixels; ``claimed`` is the size that its header says."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", *claimed, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(range(48))) * 16)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(30 * 2**30)


# what lies beside or in place of the good photograph, if there is one, and the exit codes that are right
FOLDERS: dict[str, tuple[bool, Callable[[Path], object], tuple[int, ...]]] = {
    "good": (True, lambda folder: None, (0,)),
    "none": (False, lambda folder: None, (2,)),
    "cut": (False, lambda folder: (folder / "a.png").write_bytes(png()[:60]), (2,)),
    "text named jpg": (False, lambda folder: (folder / "a.jpg").write_text("hello"), (2,)),
    "PostScript named jpg": (False, lambda folder: (folder / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n"), (2,)),
    "empty file": (False, lambda folder: (folder / "a.png").write_bytes(b""), (2,)),
    "bomb": (False, lambda folder: (folder / "a.png").write_bytes(png(claimed=(60000, 60000))), (2,)),
    "FIFO": (False, lambda folder: os.mkfifo(folder / "a.png"), (2,)),
    "loop": (False, lambda folder: (folder / "a.png").symlink_to("a.png"), (2, 4)),
    "folder named png": (True, lambda folder: (folder / "a.png").mkdir(), (0, 2)),
    "30 GB beside it": (True, lambda folder: _sparse(folder / "video.raw"), (0,)),
    "FIFO beside it": (True, lambda folder: os.mkfifo(folder / "pipe"), (0, 2)),
    "other files beside it": (True, lambda folder: (folder / "notes.txt").write_text("x"), (0,)),
}


def photographs(scene: Scene, variation: tuple[str, str]) -> None:
    """Judge on, or calibrate with, such a folder."""
    option, name = variation
    good, make, codes = FOLDERS[name]
    folder = scene.folder / "photographs"
    folder.mkdir()
    if good:
        (folder / "good.png").write_bytes(png())
    make(folder)
    scene.note(f"photographs/ holds: {name}")
    words = (
        "deploy",
        "cbam:reduction=1",
        "--shape",
        "2x3x16x16",
        "--for",
        "none",
        "-o",
        "out/se",
        option,
        "photographs",
    )
    if option == "--calibrate":
        words = (*words, "--precision", "int8")
        codes = tuple({*codes, 1} if 0 in codes else codes)  # a verdict on 8 bits from one photograph may fail
    ran = scene.run(*words, "--time-limit", "60", seconds=100)
    scene.expect(ran, codes)
    named = any(name in ran.err for name in ("photographs", "a.png", "a.jpg"))
    scene.need(ran.code not in (2, 4) or named, f"the error is of something else: {ran.err.strip()[-300:]}")
    scene.need(ran.code == 1 or (ran.code == 0) == (scene.folder / "out/se").exists(), "bundle and exit code disagree")
    scene.clean("out")


ROWS = (
    Row(
        "damaged inputs",
        [
            (option, name)
            for option in ("--inputs", "--calibrate")
            for name in FOLDERS
            if option == "--inputs" or name != "good"
        ],
        photographs,
    ),
)
