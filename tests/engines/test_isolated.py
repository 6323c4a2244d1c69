"""A runtime in a process of its own answers as one in this process does, and its death is an error."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_graph import healthy

from attn2trt.engines.isolated import IsolatedRuntime
from attn2trt.engines.ort_runtime import OrtRuntime
from attn2trt.errors import CheckFailed, InputError

FEEDS = {"x": np.arange(2 * 3 * 4 * 8, dtype=np.float32).reshape(2, 3, 4, 8)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(healthy(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def isolated(model: Path) -> Iterator[IsolatedRuntime]:
    with IsolatedRuntime(model) as runtime:
        yield runtime


def test_it_answers_as_a_runtime_in_this_process(isolated: IsolatedRuntime, model: Path) -> None:
    with OrtRuntime(model) as here:
        expected = here.run(FEEDS)
        assert isolated.name == here.name
    for _ in range(2):
        found = isolated.run(FEEDS)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert value.dtype == expected[name].dtype
            np.testing.assert_array_equal(value, expected[name])


def test_wrong_feeds_are_the_same_error_and_the_process_goes_on(isolated: IsolatedRuntime) -> None:
    with pytest.raises(InputError, match="expected x"):
        isolated.run({"y": FEEDS["x"]})
    assert isolated.run(FEEDS)


def test_a_crash_is_an_error_that_names_the_signal(isolated: IsolatedRuntime) -> None:
    isolated.load()
    os.kill(isolated.pid, signal.SIGSEGV)
    for _ in range(2):
        with pytest.raises(CheckFailed, match="process was killed by SIGSEGV"):
            isolated.run(FEEDS)


def test_a_hang_ends_at_the_time_limit(model: Path) -> None:
    with IsolatedRuntime(model, seconds=60) as runtime:
        runtime.load()
        runtime.seconds = 0.2
        os.kill(runtime.pid, signal.SIGSTOP)
        with pytest.raises(CheckFailed, match=r"did not finish running the model within 0\.2 s"):
            runtime.run(FEEDS)


def test_a_model_that_does_not_load_is_the_same_error(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    with IsolatedRuntime(tmp_path / "bad.onnx") as runtime, pytest.raises(CheckFailed, match="cannot load"):
        runtime.load()


def test_a_file_of_the_users_folder_is_not_imported(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')\n")
    monkeypatch.chdir(tmp_path)
    with IsolatedRuntime(model) as runtime:
        assert runtime.run(FEEDS)
