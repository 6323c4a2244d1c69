"""Killed at any moment, a command leaves a whole bundle in the place or none, and the next one finds nothing amiss."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_bundle import CONTENT
from waiting import wait_for

from attn2trt.core import hidden_folder, lock
from attn2trt.core.bundle import Bundle, open_bundle
from attn2trt.core.bundle_writer import BundleWriter, recover
from attn2trt.core.lock import is_abandoned, locked, owner, try_lock
from attn2trt.core.manifest import MODEL, REFERENCE
from attn2trt.errors import StorageError

PRELUDE = f"""
import os, shutil, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from killing import kill_at_each
from attn2trt.core import bundle_writer
from attn2trt.core.bundle import open_bundle
from attn2trt.core.file_hashes import sha256
from attn2trt.core.manifest import MANIFEST, MODEL, REFERENCE
from attn2trt.core.bundle_writer import BundleWriter, recover
"""

WRITE = f"""
CONTENT = {CONTENT!r}
def write(destination, text):
    with BundleWriter(destination) as writer:
        (writer.path / "plans" / ".partial-1").mkdir(parents=True)
        (writer.path / "plans" / ".partial-1" / "scratch").write_text("not to be kept")
        for name in (MODEL, REFERENCE, "plans/x.plan"):
            (writer.path / name).write_text(text)
        return writer.commit(CONTENT, {{MODEL: "graph", REFERENCE: "cases", "plans/x.plan": "plan"}})
"""

KILLS = """
root, with_exchange, with_old = Path(sys.argv[1]), sys.argv[2] == "exchange", sys.argv[3] == "old"
if not with_exchange:
    bundle_writer.exchange = lambda first, second: False
place = root / "deep" / "mine"

def text_of(bundle):
    texts = {(bundle.path / name).read_text() for name in bundle.manifest["files"]}
    assert len(texts) == 1, texts
    assert all(sha256(bundle.path / name) == entry["sha256"] for name, entry in bundle.manifest["files"].items())
    return texts.pop()

def before():
    shutil.rmtree(root / "deep", ignore_errors=True)
    if with_old:
        write(place, "old")

moments = 0
more = [(bundle_writer, "exchange")] if with_exchange else []
for moment, done in kill_at_each(lambda: write(place, "new"), before, more=more):
    moments += 1
    if place.exists():
        assert text_of(open_bundle(place)) in (("new",) if done or not with_old else ("old", "new")), moment
    else:
        assert not with_old or not with_exchange, moment
        recover(place)
        assert place.exists() == with_old, moment
    recover(place)
    assert [path.name for path in (root / "deep").glob("*")] == ["mine"] * place.exists(), moment
    write(place, "next")
    assert text_of(open_bundle(place)) == "next"
    assert [path.name for path in (root / "deep").iterdir()] == ["mine"], moment
print(moments)
"""


def script(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRELUDE + WRITE + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write(destination: Path, text: str = "text") -> Bundle:
    with BundleWriter(destination) as writer:
        for name in (MODEL, REFERENCE):
            (writer.path / name).write_text(text)
        return writer.commit(CONTENT, {MODEL: "graph", REFERENCE: "cases"})


@pytest.mark.parametrize("old", ["old", "free"])
@pytest.mark.parametrize("how", ["exchange", "two renames"])
def test_killed_at_any_moment_it_loses_no_bundle(how: str, old: str, tmp_path: Path) -> None:
    ran = script(KILLS, tmp_path, how, old)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 20


def test_a_folder_of_a_running_command_is_left_alone_also_by_one_that_sees_other_process_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from another container: the number in the name belongs to no process that it knows."""
    place = tmp_path / "mine"
    monkeypatch.setattr(hidden_folder, "owner", lambda: f"{2**22 + 1}-01234567")
    with BundleWriter(place) as writer:
        recover(place)
        assert writer.path.is_dir()
    writer.path.mkdir()
    recover(place)
    assert list(tmp_path.iterdir()) == []


def test_without_locks_in_the_file_system_numbers_count_on_their_own_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(9, os.strerror(9))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    own = hidden_folder.owner().partition("-")[2]
    for number, place, abandoned in (
        (2**22 + 1, f"-{own}", True),
        (2**22 + 1, "", True),
        (2**22 + 1, "-01234567", False),
        (1, f"-{own}", False),
        (1, "", False),
    ):
        folder = tmp_path / f".mine.partial-{number}{place}"
        folder.mkdir()
        assert is_abandoned(folder) is abandoned, folder.name
    write(tmp_path / "mine")
    assert open_bundle(tmp_path / "mine")


def test_the_folder_above_may_be_a_link(tmp_path: Path) -> None:
    """As bundles is to a larger disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "bundles").symlink_to("disk")
    for text in ("old", "new"):
        recover(tmp_path / "bundles" / "mine")
        with BundleWriter(tmp_path / "bundles" / "mine") as writer:
            for name in (MODEL, REFERENCE):
                (writer.path / name).write_text(text)
            writer.commit(CONTENT, {MODEL: "graph", REFERENCE: "cases"})
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["mine"]
    assert (tmp_path / "disk" / "mine" / MODEL).read_text() == "new"


def test_what_somebody_put_into_a_bundle_that_was_set_aside_is_never_removed(tmp_path: Path) -> None:
    left = write(tmp_path / "mine").path.rename(tmp_path / ".mine.partial-7")
    (left / "notes.txt").touch()
    write(tmp_path / "mine")
    assert (left / "notes.txt").exists()
    link, fifo = tmp_path / ".mine.partial-8", tmp_path / ".mine.replaced-9"
    link.symlink_to(left)
    os.mkfifo(fifo)
    recover(tmp_path / "mine")
    assert link.is_symlink()
    assert fifo.is_fifo()


def test_the_latest_bundle_that_was_set_aside_comes_back(tmp_path: Path) -> None:
    for number, text in ((7, "older"), (8, "old")):
        left = write(tmp_path / "mine", text).path.rename(tmp_path / f".mine.replaced-{number}")
        os.utime(left, (number, number))
    recover(tmp_path / "mine")
    assert (tmp_path / "mine" / MODEL).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("length", [200, 236, 255])
def test_every_name_that_the_system_allows_is_taken(length: int, tmp_path: Path) -> None:
    place = tmp_path / ("ä" * (length // 2) + "x" * (length % 2))
    write(place, "old")
    with BundleWriter(place) as writer:
        left = writer.path
    left.mkdir()
    write(place, "new")
    assert (place / MODEL).read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


def test_every_file_has_the_mode_that_the_user_gives_files(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "mine") as writer:
        for name in (MODEL, REFERENCE):
            (writer.path / name).touch(0o600)
        writer.commit(CONTENT, {MODEL: "graph", REFERENCE: "cases"})
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "mine").iterdir()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


def test_several_at_once_leave_one_whole_bundle(tmp_path: Path) -> None:
    code = PRELUDE + WRITE + "number = 0\nwhile number < 10 or not Path(sys.argv[3]).exists():\n    number += 1\n"
    code += "    write(Path(sys.argv[1]), sys.argv[2] + str(number))\n"
    (tmp_path / "there").mkdir()
    place, seen = tmp_path / "there" / "mine", tmp_path / "seen"
    running = [subprocess.Popen([sys.executable, "-c", code, place, name, seen]) for name in "abc"]
    wait_for(place.exists)
    for _ in range(40):  # from the first one on there is a bundle at every moment
        assert open_bundle(place)
    seen.touch()
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len({(place / name).read_text() for name in open_bundle(place).manifest["files"]}) == 1
    assert [path.name for path in place.parent.iterdir()] == ["mine"]


def test_what_another_command_removes_meanwhile_is_not_abandoned(tmp_path: Path) -> None:
    assert not is_abandoned(tmp_path / f".mine.partial-{owner()}")


def test_a_command_that_hangs_holding_the_lock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.1)
    with locked(tmp_path), pytest.raises(StorageError, match="another command has been writing"), locked(tmp_path):
        raise AssertionError
    with locked(tmp_path):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = "from attn2trt.core.lock import try_lock\nimport os, sys, signal\nfrom pathlib import Path\n"
    code += "held = try_lock(Path(sys.argv[1]))\nprint('held', flush=True)\nsignal.pause()\n"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout as said:
        said.readline()
        assert try_lock(tmp_path) is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    lock = try_lock(tmp_path)
    assert lock is not None
    lock.release()


def test_a_folder_that_goes_while_others_are_looked_at_is_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / ".mine.partial-999999999"
    monkeypatch.setattr(Path, "iterdir", lambda _folder: iter([gone]))
    recover(tmp_path / "mine")
