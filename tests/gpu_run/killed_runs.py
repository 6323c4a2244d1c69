"""Runs that kill themselves at every write, one after another, and are taken up again; prints how many there were.

A process of its own: it forks for each run, which a process with threads must not do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "benchmarks"), str(HERE.parent)]

from gpu.archive import Archive  # noqa: E402
from gpu.work import steps  # noqa: E402
from gpu_run.pretended import SMALL, World, drive  # noqa: E402


def run(folder: Path) -> None:
    archive = Archive(folder, folder / "home.tar")
    drive(folder, World(folder), plan=steps((SMALL[0][:1],)), keep=lambda _: archive.refresh())


def killed_at(folder: Path, write: int, *, after: bool) -> bool:
    """Run in a child that kills itself before or after the given write; whether it came to that."""
    child = os.fork()
    if child == 0:
        replace, count = Path.replace, 0

        def counted(self: Path, target: Any) -> Path:
            nonlocal count
            count += 1
            if count == write and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            found = replace(self, target)
            if count == write:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        Path.replace = counted  # type: ignore[assignment, method-assign]
        run(folder)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def check_left(folder: Path) -> None:
    """Everything that is in its place can be read."""
    for file in folder.rglob("[!.]*.json"):
        json.loads(file.read_text())
    if (folder / "home.tar").exists():
        with tarfile.open(folder / "home.tar") as tar:
            tar.getmembers()


def rows_in(folder: Path) -> int:
    return len(list((folder / "rows").glob("[!.]*.json")))


def main() -> int:
    """Returns how many runs were killed."""
    kills = 0
    with tempfile.TemporaryDirectory() as name:
        run(whole := Path(name) / "whole")
        expected = json.loads((whole / "results.json").read_text())
        for after in (False, True):
            write = 0
            while killed_at(folder := Path(name) / f"{after}-{write}", write := write + 1, after=after):
                kills += 1
                check_left(folder)
                kept = rows_in(folder)
                killed_at(folder, 3, after=after)
                assert rows_in(folder) >= kept
                run(folder)
                assert json.loads((folder / "results.json").read_text()) == expected
    return kills


if __name__ == "__main__":
    print(main())
