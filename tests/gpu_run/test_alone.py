"""Two runs on one GPU: what is timed runs alone, and is not put off for ever."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path

from gpu.alone import TURN, alone, beside
from waiting import wait_for


def is_held(path: Path) -> bool:
    """Whether somebody has the lock of a file."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_what_is_timed_runs_alone_and_before_what_comes_later(tmp_path: Path) -> None:
    events: list[str] = []

    def timed() -> None:
        with alone(tmp_path):
            events.append("alone begins")
            time.sleep(0.05)
            events.append("alone ends")

    def later() -> None:
        with beside(tmp_path):
            events.append("later")

    first, second = threading.Thread(target=timed), threading.Thread(target=later)
    with beside(tmp_path), beside(tmp_path):
        first.start()
        wait_for(lambda: is_held(tmp_path / TURN))
        second.start()
        time.sleep(0.1)
        events.append("beside ends")
    first.join()
    second.join()
    assert events == ["beside ends", "alone begins", "alone ends", "later"]


def test_without_a_folder_nothing_is_held() -> None:
    with alone(None), beside(None):
        pass
