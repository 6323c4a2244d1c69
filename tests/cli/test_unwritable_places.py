"""A place that cannot be written to is refused before the work, by the name that the user typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_run import refused, run
from small_bundle import write

from attn2trt.core.new_folder import require_free
from attn2trt.engines.triton.repository import check_place
from attn2trt.errors import StorageError

PROC = Path("/proc")  # of a kernel: its rights let root write, and nothing can be made there
SWEEP = 'verbs = ["deploy"]\ntargets = ["se"]\n'


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write(tmp_path / "made")
    return tmp_path / "made"


needs_proc = pytest.mark.skipif(not (PROC / "self").exists(), reason="no /proc here")


@needs_proc
@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["deploy", "se", "-o"], "/proc/x"),
        (["export", "se", "-o"], "/proc/x/y"),
        (["deploy", "se", "--format"], "sarif=/proc/x.sarif"),
        (["benchmark", "se", "-o"], "/proc/x.json"),
        (["cost", "resnet18+se", "-o"], "/proc/x.json"),
        (["cost", "resnet18+se", "--plot"], "/proc/x.png"),
        (["sweep", "SWEEP", "-o"], "/proc/x"),
        (["report", "BUNDLE", "-o"], "/proc/x.html"),
        (["plugin", "--for", "sm90", "-o"], "/proc/x"),
    ],
)
def test_what_cannot_be_written_is_refused_first(words: list[str], place: str, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(SWEEP)
    given = {"BUNDLE": bundle, "SWEEP": tmp_path / "one.toml"}
    line = refused(run(*(given.get(word, word) for word in words), place), 4)
    shown = place.replace("sarif=", "sarif ")
    assert line.startswith(f"error: received {words[-1]} {shown}")
    assert "No such file or directory" in line
    assert "expected a folder that can be written to" in line


@needs_proc
def test_so_are_the_folders_of_programs_and_of_triton() -> None:
    with pytest.raises(StorageError, match=r"^received -o /proc/x, and nothing can be written in /proc"):
        require_free(PROC / "x")
    with pytest.raises(StorageError, match=r"^received -o /proc/x, and nothing can be written in /proc"):
        check_place(PROC / "x", ["net"], add=False)
