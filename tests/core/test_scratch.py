"""A temporary folder is gone after its block, after a kill with the next command, and never while it is in use."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from attn2trt.core import scratch as room
from attn2trt.core.lock import owner
from attn2trt.core.scratch import remove_abandoned, scratch

HELD = """
import os, signal, sys
from attn2trt.core.scratch import scratch
with scratch("held") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    signal.pause()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process that works in a temporary folder until it is ended."""
    process = subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_gone_after_the_block_also_after_an_error(place: Path) -> None:
    def fail() -> None:
        with scratch("test") as folder:
            assert folder.parent == place
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "inner").mkdir()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_a_running_one_uses_stays(place: Path) -> None:
    killed, left = holder()
    running, used = holder()
    assert (left / "file").exists()
    killed.kill()
    killed.communicate()
    with scratch("test"):
        assert not left.exists()
        assert (used / "file").read_text() == "x"
    running.send_signal(signal.SIGTERM)
    running.communicate()
    remove_abandoned()
    assert list(place.iterdir()) == []


def test_files_links_and_folders_of_others_stay(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = place / "kept"
    target.mkdir()
    (place / f"attn2trt-a-b.scratch-{owner()}").symlink_to(target)
    (place / f"attn2trt-c-d.scratch-{owner()}").touch()
    (place / "attn2trt-benchmark-abcd").mkdir()
    (place / f"other.scratch-{owner()}").mkdir()
    before = sorted(place.iterdir())
    remove_abandoned()
    assert sorted(place.iterdir()) == before
    of_another = place / f"attn2trt-e-f.scratch-{owner()}"
    of_another.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 12345)
        remove_abandoned()
        assert of_another.exists()
    remove_abandoned()
    assert not of_another.exists()


def test_without_locks_in_the_file_system_the_number_counts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    ended = subprocess.Popen(["true"])
    ended.wait()
    forgotten = subprocess.Popen(["true"])
    os.waitid(os.P_PID, forgotten.pid, os.WEXITED | os.WNOWAIT)  # it keeps its number until it is waited for
    names = {
        f"attn2trt-a-0.scratch-{forgotten.pid}-{owner().split('-')[1]}": False,
        f"attn2trt-a-1.scratch-{ended.pid}-{owner().split('-')[1]}": False,
        f"attn2trt-a-2.scratch-{os.getppid()}-{owner().split('-')[1]}": True,
        f"attn2trt-a-3.scratch-{ended.pid}-00000000": True,  # of another machine
    }
    for name in names:
        (place / name).mkdir()
    with scratch("test") as folder:
        assert {name: (place / name).exists() for name in names} == names
        assert folder.is_dir()
    assert not folder.exists()
    forgotten.wait()


def test_one_that_was_taken_for_abandoned_before_it_was_locked_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, taken = room.try_lock, []

    def late(folder: Path) -> object:
        if not taken:
            taken.append(folder)
            shutil.rmtree(folder)
        return usual(folder)

    monkeypatch.setattr(room, "try_lock", late)
    with scratch("test") as folder:
        assert taken != [folder]
        assert list(place.iterdir()) == [folder]


def test_a_copy_of_the_process_leaves_it_alone(place: Path) -> None:
    code = (
        "import os\nfrom attn2trt.core.scratch import scratch\nwith scratch('test') as folder:\n"
        "    child = os.fork()\n    if not child:\n        raise SystemExit\n"
        "    os.waitpid(child, 0)\n    print(folder.exists())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"
    assert list(place.iterdir()) == []
