"""A library of plugins is loaded only if it is the one that plugin.json lists."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from attn2trt.engines.tensorrt.plugin.build import ABOUT, LIBRARY
from attn2trt.engines.tensorrt.plugin.library import load_plugin, read_plugin
from attn2trt.errors import CheckFailed, InputError

CONTENT = b"a library"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / LIBRARY).write_bytes(CONTENT)
    about = {"tensorrt": "10.13.3", "files": {LIBRARY: {"sha256": SHA256}}}
    (tmp_path / ABOUT).write_text(json.dumps(about))
    return tmp_path


class Registry:
    """In the place of TensorRT's: it keeps what it was given to load."""

    def __init__(self, handle: object = True) -> None:
        self.loaded: list[bytes] = []
        self._handle = handle

    def load_library(self, path: str) -> object:
        self.loaded.append(Path(path).read_bytes())
        return self._handle


def test_what_is_loaded_are_the_bytes_that_were_hashed(folder: Path) -> None:
    found, registry = read_plugin(folder), Registry()
    assert (found.sha256, found.tensorrt) == (SHA256, (10, 13, 3))
    load_plugin(SimpleNamespace(get_plugin_registry=lambda: registry), found.path, found.sha256)
    assert registry.loaded == [CONTENT]


def test_another_library_is_not_loaded(folder: Path) -> None:
    found, registry = read_plugin(folder), Registry()
    (folder / LIBRARY).write_bytes(b"another one")
    with pytest.raises(CheckFailed, match=r"is not the file that plugin\.json lists; build it again"):
        load_plugin(SimpleNamespace(get_plugin_registry=lambda: registry), found.path, found.sha256)
    assert registry.loaded == []
    with pytest.raises(CheckFailed, match=r"is not the file that plugin\.json lists"):
        read_plugin(folder)


def test_a_library_that_tensorrt_refuses(folder: Path) -> None:
    trt = SimpleNamespace(get_plugin_registry=lambda: Registry(None), __version__="10.3.0")
    with pytest.raises(
        CheckFailed, match=r"TensorRT 10\.3\.0 does not load .*; build it with the headers of that version"
    ):
        load_plugin(trt, folder / LIBRARY, SHA256)


STRANGE = json.dumps({"tensorrt": "x", "files": {LIBRARY: {"sha256": ""}}})


@pytest.mark.parametrize("about", ["", "[]", "{}", '{"files": {}}', STRANGE])
def test_what_is_no_such_folder(folder: Path, about: str) -> None:
    (folder / ABOUT).write_text(about)
    with pytest.raises(
        InputError, match=r"received --plugin .*; expected a folder that attn2trt plugin wrote, with plugin\.json"
    ):
        read_plugin(folder)
    with pytest.raises(InputError, match=r"received --plugin .*none, which is not there"):
        read_plugin(folder / "none")
    (folder / ABOUT).write_text("[" * 100_000)
    with pytest.raises(InputError, match="expected a folder that attn2trt plugin wrote"):
        read_plugin(folder)
