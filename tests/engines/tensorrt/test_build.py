"""The kernels that were timed before: TensorRT gets the listed bytes, or none."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attn2trt.engines.tensorrt import build
from attn2trt.engines.tensorrt.build import BuildOrder
from attn2trt.engines.tensorrt.build_child import PATHS
from attn2trt.errors import CheckFailed


@pytest.fixture
def order(tmp_path: Path) -> BuildOrder:
    (tmp_path / "known").write_bytes(b"timed")
    known = {"known_cache": tmp_path / "known", "known_sha256": hashlib.sha256(b"timed").hexdigest()}
    return BuildOrder(**{name: tmp_path / name for name in PATHS}, inputs=(), profiles=(), **known)


class Config:
    """A builder's settings that remember the cache; ``takes`` is what they accept."""

    def __init__(self, takes: bool) -> None:
        self.takes, self.given = takes, list[bytes]()

    def create_timing_cache(self, serialized: bytes) -> bytes:
        return serialized

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.given.append(cache)
        return self.takes


def test_the_listed_kernels_are_read(order: BuildOrder) -> None:
    assert build._known_kernels(order) == b"timed"
    assert build._known_kernels(replace(order, known_cache=None)) == b""


@pytest.mark.parametrize("content", [b"of somebody", None])
def test_another_file_is_refused_before_anything_is_built(order: BuildOrder, content: bytes | None) -> None:
    assert order.known_cache is not None
    order.known_cache.unlink()
    if content is not None:
        order.known_cache.write_bytes(content)
    with pytest.raises(CheckFailed, match="known is not the file that the manifest lists; restore it"):
        build._known_kernels(order)


@pytest.mark.parametrize(("takes", "given"), [(True, [b"timed"]), (False, [b"timed", b""])])
def test_kernels_of_another_version_or_gpu_are_timed_again(takes: bool, given: list[bytes]) -> None:
    config: Any = Config(takes)
    build._set_cache(config, b"timed")
    assert config.given == given
