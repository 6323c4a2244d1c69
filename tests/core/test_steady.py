"""A reader of a bundle sees one bundle, whatever another command does meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_bundle import CONTENT, write

from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.bundle_writer import BundleWriter
from attn2trt.core.extend import extend
from attn2trt.core.manifest import MANIFEST, MODEL, REFERENCE
from attn2trt.core.steady import TRIES, steady
from attn2trt.errors import CheckFailed, StorageError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write(tmp_path / "mine")


def replace(path: Path) -> None:
    with BundleWriter(path) as writer:
        for name in (MODEL, REFERENCE):
            (writer.path / name).write_bytes(b"another")
        writer.commit(CONTENT, {MODEL: "graph", REFERENCE: "cases"})


def list_one_more(path: Path) -> None:
    (path / "plans").mkdir(exist_ok=True)
    (path / "plans" / "more.log").touch()
    extend(open_bundle(path), {"plans/more.log": "log"}, {})


def drop_one(path: Path) -> None:
    extend(open_bundle(path), {}, {}, without=[REFERENCE])


@pytest.mark.parametrize(
    ("change", "reads"),
    [(replace, 2), (list_one_more, 1), (drop_one, 2), (lambda path: path.rename(path.with_name("away")), 2)],
)
@pytest.mark.parametrize("fails", [False, True])
def test_what_changed_meanwhile_is_read_again(
    bundle: Bundle, change: Callable[[Path], None], reads: int, fails: bool
) -> None:
    count = 0

    @steady
    def read(path: Path | str) -> int:
        nonlocal count
        count += 1
        if count == 1:
            change(Path(path))
            if fails and reads > 1:
                raise CheckFailed("of two bundles")
        return count

    assert read(bundle.path) == reads


def test_an_error_of_a_bundle_that_stays_is_its_own(bundle: Bundle) -> None:
    @steady
    def read(path: Path | str) -> None:
        raise CheckFailed(f"{path} has failed")

    with pytest.raises(CheckFailed, match="has failed"):
        read(bundle.path)


def test_a_bundle_that_never_stays_is_named(bundle: Bundle) -> None:
    count = 0

    @steady
    def read(path: Path | str) -> None:
        nonlocal count
        count += 1
        replace(Path(path))

    with pytest.raises(StorageError, match=f"was replaced {TRIES} times while it was read"):
        read(bundle.path)
    assert count == TRIES


def test_the_same_files_in_another_folder_are_another_bundle(bundle: Bundle) -> None:
    """Its reference may be the same, its manifest may hold another verdict."""
    reads = 0

    @steady
    def read(path: Path | str) -> None:
        nonlocal reads
        reads += 1
        if reads == 1:
            before = json.loads((Path(path) / MANIFEST).read_text())
            write(Path(path))
            assert json.loads((Path(path) / MANIFEST).read_text()) == before

    read(bundle.path)
    assert reads == 2
