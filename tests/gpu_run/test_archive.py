"""The archive stays below its limit, whatever there is, and holds what is most wanted."""

from __future__ import annotations

import gzip
import random
import tarfile
from pathlib import Path

import pytest
from gpu import archive
from gpu.archive import HEAD, LEFT_OUT, TAIL, Archive

NOISE = random.Random(0)


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def test_it_holds_results_documents_and_logs_and_no_plan(tmp_path: Path) -> None:
    kept = {
        "results.json": b"{}",
        "rows/time-a-8.json": b"{}",
        "builds/a-fp16/plans/sm90-trt8.6.0-fp16.layers.json": b"layers",
        "builds/a-fp16/plans/fp16.log": b"words",
        "builds/a-fp16/plans/.partial-7-fp16/log": b"words of a build that was stopped",
        "plain/a-fp16.layers.json": b"layers",
        "plain/a-fp16.log": b"words",
        "logs/build-a-fp16.log": b"on the way",
        "bundles/a/bundle.json": b"{}",
    }
    left = (
        "bundles/a/plans/a.plan",
        "builds/a-fp16/plans/a.plan",
        "bundles/a/reference.safetensors",
        "rows/.time-a-8.json.partial-1",
        "lock",
    )
    for name, content in {**kept, **dict.fromkeys(left, b"no")}.items():
        write(tmp_path / name, content)
    assert Archive(tmp_path, tmp_path / "home.tar").refresh() == []
    found = members(tmp_path / "home.tar")
    assert {name.removesuffix(".gz"): gzip.decompress(content) for name, content in found.items()} == kept


@pytest.mark.parametrize("limit", [20_000, 60_000, 100_000])
def test_it_stays_below_the_limit_and_says_what_it_left_out(tmp_path: Path, limit: int) -> None:
    write(tmp_path / "results.json", b"{}")
    for number in range(30):
        write(tmp_path / f"logs/{'long' * 30}-{number}.log", NOISE.randbytes(5000))
    left_out = Archive(tmp_path, path := tmp_path / "home.tar", limit).refresh()
    assert path.stat().st_size < limit
    found = members(path)
    assert "results.json.gz" in found
    assert found[LEFT_OUT].decode().splitlines() == left_out
    assert len(left_out) + len(found) == 32


def test_a_log_beyond_measure_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    write(tmp_path / "logs/a.log", b"parser" + bytes(2 * HEAD) + b"error")
    Archive(tmp_path, tmp_path / "home.tar").refresh()
    content = gzip.decompress(members(tmp_path / "home.tar")["logs/a.log.gz"])
    assert content.startswith(b"parser")
    assert content.endswith(b"error")
    assert len(content) < HEAD + TAIL + 100
    assert f"{HEAD + 11 - TAIL} bytes left out".encode() in content


def test_kernels_that_were_timed_are_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    write(tmp_path / "plans/a/b/c/plans/timing.cache", bytes(2 * HEAD))
    kept = Archive(tmp_path, tmp_path / "home.tar", patterns=("plans/*/*/*/plans/*.cache",))
    assert kept.refresh() == []
    (content,) = members(tmp_path / "home.tar").values()
    assert gzip.decompress(content) == bytes(2 * HEAD)


def test_a_refresh_compresses_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compressed: list[bytes] = []
    compress = gzip.compress

    def counted(content: bytes, **options: int) -> bytes:
        compressed.append(content)
        return compress(content, **options)

    monkeypatch.setattr(archive.gzip, "compress", counted)
    home = Archive(tmp_path, tmp_path / "home.tar")
    write(tmp_path / "logs/a.log", b"first")
    home.refresh()
    write(tmp_path / "logs/b.log", b"second")
    home.refresh()
    write(tmp_path / "logs/a.log", b"first and more")
    home.refresh()
    assert compressed == [b"first", b"second", b"first and more"]
    assert gzip.decompress(members(tmp_path / "home.tar")["logs/a.log.gz"]) == b"first and more"
