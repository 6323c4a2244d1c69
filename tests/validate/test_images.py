"""Photographs are the files of a folder that are images by name and by content; nothing else in there is read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attn2trt.errors import InputError
from attn2trt.validate.images import image_feeds, images_in
from attn2trt.workflows.reuse import files_read

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"


def test_only_images_of_the_folder_itself_count(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    pixels = np.zeros((8, 8, 3), np.uint8)
    for name in ("b.png", "a.PNG", "deeper/c.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    with (tmp_path / "video.raw").open("wb") as video:
        video.truncate(30 << 30)  # holes: nothing on the disk, all of it in memory if it were read
    os.mkfifo(tmp_path / "pipe.png")
    assert [path.name for path in images_in(tmp_path)] == ["a.PNG", "b.png"]
    assert files_read(tmp_path) == images_in(tmp_path)


def test_what_is_neither_a_file_nor_a_folder_is_refused_without_reading(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a device, FIFO or socket; expected a file or a folder"):
        files_read(tmp_path / "pipe")
    assert files_read(None) == []


def test_postscript_under_an_images_name_is_not_given_to_another_program(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match="cannot read the image"):
        image_feeds([tmp_path / "a.jpg"], (1, 3, 8, 8), {})
