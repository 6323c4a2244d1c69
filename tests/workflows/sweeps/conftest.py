"""Sweeps whose jobs are stand-ins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_bundle import write


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle."""
    return write(tmp_path_factory.mktemp("small") / "bundle").path


@pytest.fixture
def stand_in(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have jobs run the commands of ``stand_in.py``; returns the folder that they and the test work in."""
    script = Path(__file__).with_name("stand_in.py")
    code = f"import os, runpy; os.environ['STAND_IN'] = str(os.getpid()); runpy.run_path({str(script)!r}, "
    code += "run_name='__main__')"
    monkeypatch.setenv("STAND_IN_BUNDLE", str(small))
    monkeypatch.setattr("attn2trt.core.processes.command", lambda *_: [sys.executable, "-c", code])
    monkeypatch.chdir(tmp_path)
    return tmp_path
