"""What a sweep knows a result by: every file that a job's options name, however deep it lies."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from attn2trt.workflows.sweeps.file import parse
from attn2trt.workflows.sweeps.matrix import jobs_of
from attn2trt.workflows.sweeps.results import Results

BEFORE = {
    "images/cat/1.png": "a picture",
    "images/dog/2.png": "another",
    "notes/readme.txt": "no picture",
    "w-1.safetensors": "weights",
    "w.safetensors.index.json": '{"weight_map": {"a": "w-1.safetensors"}}',
}


def key(folder: Path, files: dict[str, str]) -> str:
    """The key of a job with two options, after these files were written."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    words = [f"--checkpoint={folder / 'w.safetensors.index.json'}", f"--dataset={folder / 'images'}"]
    (job,) = jobs_of(parse({"targets": ["se"]}, "mine.toml"), defaultdict(lambda: words))
    return Results(folder / "out", [job]).key(job)


@pytest.mark.parametrize(
    ("changed", "is_other"),
    [("images/cat/1.png", True), ("images/dog/1.png", True), ("w-1.safetensors", True), ("notes/readme.txt", False)],
)
def test_images_in_folders_of_classes_and_the_shards_of_an_index_count(
    changed: str, is_other: bool, tmp_path: Path
) -> None:
    assert (key(tmp_path, BEFORE) != key(tmp_path, {changed: "other"})) == is_other


def test_a_folder_of_a_class_counts_since_it_is_the_label(tmp_path: Path) -> None:
    before = key(tmp_path, BEFORE)
    (tmp_path / "images/cat/1.png").rename(tmp_path / "images/dog/1.png")
    assert key(tmp_path, {}) != before


def test_the_key_is_of_the_files_before_the_job_also_with_force(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_text("before")
    words = [f"--checkpoint={tmp_path / 'w.bin'}"]
    (job,) = jobs_of(parse({"targets": ["se"]}, "mine.toml"), defaultdict(lambda: words))
    before = Results(tmp_path / "out", [job]).key(job)
    forced = Results(tmp_path / "out", [job], force=True)
    assert forced.known(job, lambda _job: []) is None
    (tmp_path / "w.bin").write_text("while it ran")
    assert forced.key(job) == before
