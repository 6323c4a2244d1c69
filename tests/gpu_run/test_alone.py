"""Two runs on one GPU: what is timed runs alone, and is not put off for ever."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from gpu.alone import alone, beside


def test_what_is_timed_runs_alone_and_before_what_comes_later(tmp_path: Path) -> None:
    events: list[str] = []
    begun = threading.Event()

    def timed() -> None:
        begun.set()
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
        begun.wait()
        time.sleep(0.1)
        second.start()
        time.sleep(0.1)
        events.append("beside ends")
    first.join()
    second.join()
    assert events == ["beside ends", "alone begins", "alone ends", "later"]


def test_without_a_folder_nothing_is_held() -> None:
    with alone(None), beside(None):
        pass
