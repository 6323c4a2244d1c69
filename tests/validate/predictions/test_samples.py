"""The images of a data set, in the folders of their classes."""

from __future__ import annotations

from pathlib import Path

from attn2trt.validate.predictions.samples import walk


def test_linked_folders_are_part_of_a_data_set_and_a_circle_of_links_ends(tmp_path: Path) -> None:
    for folder in ("set/cat", "elsewhere/dogs"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.png").touch()
    (tmp_path / "set/dog").symlink_to(tmp_path / "elsewhere/dogs")
    (tmp_path / "set/cat/around").symlink_to(tmp_path / "set")
    (tmp_path / "set/cat/gone.png").symlink_to(tmp_path / "nowhere")
    assert walk(tmp_path / "set") == (["cat/1.png", "dog/1.png"], ["cat/gone.png"])
