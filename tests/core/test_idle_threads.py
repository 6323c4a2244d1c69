"""PyTorch's threads sleep in a command that judges by it, and wait as users have them wait in one that is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SHOW = """
import json, os, sys
from attn2trt.cli.guard import guarded
from attn2trt.core import processes
from attn2trt.core.worker import Worker

def found():
    return {name: os.environ[name] for name in os.environ if name.startswith(("OMP_W", "GOMP", "KMP"))}

def run():
    with Worker("core.worker", who="it", seconds=60) as child:
        print(json.dumps([found(), child.answer("starting")[0]["found"]]))
    sys.exit(0)

if __name__ == "__main__":
    processes.command = lambda *_: [sys.executable, "show.py", "child"]
    if sys.argv[1] == "child":
        from attn2trt.core.channel import claim_stdout, send
        send(os.fdopen(claim_stdout(), "wb"), {"found": found()})
    else:
        if sys.argv[1] == "late":
            sys.modules["torch"] = None
        guarded(run)
"""
Waiting = Callable[..., list[dict[str, str]]]


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    """What says how threads wait, in the process of a guarded command and in a worker of it."""
    (tmp_path / "show.py").write_text(SHOW)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_W", "GOMP", "KMP"))}

    def run(when: str = "early", **given: str) -> list[dict[str, str]]:
        command = [sys.executable, "show.py", when]
        ran = subprocess.run(command, cwd=tmp_path, env={**plain, **given}, capture_output=True, text=True, check=True)
        found: list[dict[str, str]] = json.loads(ran.stdout)
        return found

    return run


def test_they_sleep_in_the_command_and_not_in_what_it_starts(waiting: Waiting) -> None:
    assert waiting() == [{"OMP_WAIT_POLICY": "PASSIVE"}, {}]


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_the_users_own_choice_stays(waiting: Waiting, name: str) -> None:
    assert waiting(**{name: "7"}) == [{name: "7"}, {name: "7"}]


def test_it_is_too_late_once_pytorch_is_there(waiting: Waiting) -> None:
    assert waiting("late") == [{}, {}]
