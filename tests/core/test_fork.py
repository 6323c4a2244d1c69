"""A forked child: its end is known without waiting, and a signal finds either side ready."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import is_running, wait_for, wait_for_text

from attn2trt.core import fork
from attn2trt.core.fork import Fork


def started(work: Callable[[], object]) -> Fork:
    """A child that calls ``work`` and ends there and then."""

    def and_end() -> None:
        try:
            work()
        finally:
            os._exit(0)

    child = Fork()
    child.start(and_end, in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))  # type: ignore[arg-type]
    return child


@pytest.mark.parametrize(("work", "code"), [(lambda: os._exit(7), 7), (lambda: os.kill(os.getpid(), 9), -9)])
def test_its_exit_code_is_known_however_often_it_is_asked_for(work: Callable[[], object], code: int) -> None:
    child = started(work)
    assert select.select(child.descriptors(), [], [], 20)[0]
    assert [child.poll(), child.poll(), child.wait()] == [code] * 3
    assert child.pid is None
    child.kill()  # of no account to whatever has the number now


def test_one_that_runs_has_no_exit_code_until_it_is_killed() -> None:
    child = started(lambda: time.sleep(60))
    assert child.poll() is None
    child.kill()
    assert child.wait() == -signal.SIGKILL


def test_a_signal_waits_until_the_child_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(3))  # as the parent would end
    monkeypatch.setattr(fork, "die_with_parent", lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        assert started(lambda: time.sleep(60)).wait() == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_child_whose_parent_was_killed_before_it_asked_to_die_with_it_does_nothing(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys, time
from pathlib import Path
from attn2trt.core import fork
place, parent = Path({str(tmp_path)!r}), os.getpid()
def late():
    os.kill(parent, signal.SIGKILL)
    while os.getppid() == parent:
        time.sleep(0.01)
    (place / "child").write_text(str(os.getpid()))
fork.die_with_parent = late
child = fork.Fork()
child.start(lambda: (place / "worked").touch(), in_child=lambda: None)
child.wait()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    child = int(wait_for_text(tmp_path / "child"))
    wait_for(lambda: not is_running(child))
    assert not (tmp_path / "worked").exists()


def test_what_python_holds_back_is_printed_once(capfd: pytest.CaptureFixture[str]) -> None:
    print("once", end="")
    assert started(fork.flush).wait() == 0
    assert capfd.readouterr().out == "once"
