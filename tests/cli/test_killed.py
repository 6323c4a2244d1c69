"""Real commands, killed and asked to end while they are at work: the bundle is whole, and the next command runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import heeds, wait_for

from attn2trt.core.file_hashes import verify

pytestmark = pytest.mark.slow

COMMANDS = {
    "deploy": (("deploy", "se", "--shape", "2x16x8x8", "-o", "out/se", "--force"), "out/.se.partial-*/model.onnx"),
    "export": (("export", "se", "--shape", "2x16x8x8", "-o", "out/se", "--force"), "out/.se.partial-*/model.onnx"),
    "tune": (("tune", "out/se", "--seconds", "0.2"), "out/se/.tuning.partial-*"),
    "validate": (("validate", "out/se"), "out/se/bundle.json"),
}


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployed")
    finish(start(folder, "deploy", "se", "--shape", "2x16x8x8", "-o", "out/se"))
    return folder


@pytest.fixture
def folder(deployed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(deployed, tmp_path / "own", symlinks=True)


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "attn2trt", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(running: subprocess.Popen[str]) -> None:
    said = running.communicate()[1]
    assert running.returncode == 0, said


def at_work(folder: Path, command: str) -> subprocess.Popen[str]:
    words, mark = COMMANDS[command]
    running = start(folder, *words)
    wait_for(lambda: heeds(running.pid, signal.SIGTERM) and list(folder.glob(mark)), of=running)
    time.sleep(0.3)  # into the work: any moment must do
    return running


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_work_it_leaves_the_bundle_whole(command: str, folder: Path) -> None:
    running = at_work(folder, command)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert all(finding.ok for finding in verify(folder / "out" / "se"))
    finish(start(folder, *COMMANDS[command][0]))
    assert all(finding.ok for finding in verify(folder / "out" / "se"))
    assert not list(folder.glob("out/.*"))
    assert not list(folder.glob("out/se/.*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("command", COMMANDS)
def test_asked_to_end_it_leaves_nothing_and_ends_with_130(command: str, number: signal.Signals, folder: Path) -> None:
    running = at_work(folder, command)
    running.send_signal(number)
    assert running.communicate(timeout=60)[1] == "interrupted\n"
    assert running.returncode == 130
    assert all(finding.ok for finding in verify(folder / "out" / "se"))
    assert not list(folder.glob("out/.*"))
    assert not list(folder.glob("out/se/.*"))
