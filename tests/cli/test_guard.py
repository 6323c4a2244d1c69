"""Whatever ends the process that works, the command ends with one line and a documented exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PRELUDE = """
import os, signal, sys, time
from pathlib import Path
from attn2trt.cli.guard import guarded, note
def run():
"""


def guard(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``body`` under the guard, in a process that has imported nothing else."""
    code = PRELUDE + "".join(f"    {line}\n" for line in body.splitlines()) + "guarded(run)\n"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 1, 2, 70])
def test_an_end_of_its_own_is_passed_on(code: int) -> None:
    ran = guard(f"print('said')\nsys.exit({code})")
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "said\n", "")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL (mostly: out of memory)"),
        ("os.abort()", "was killed by SIGABRT"),
        ("note(seconds=0.2)\ntime.sleep(60)", "did not finish within 0.2 s (--time-limit)"),
    ],
)
def test_a_death_is_one_line_that_names_the_stage_and_leaves_no_half_bundle(
    how: str, words: str, tmp_path: Path
) -> None:
    half = "(Path(sys.argv[1]) / f'.mine.partial-{os.getpid()}').mkdir()"
    (tmp_path / ".other.partial-1").mkdir()
    ran = guard(f"note(folder=sys.argv[1])\n{half}\nnote(stage='tracing')\n{how}", str(tmp_path))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"error: tracing: the process {words}; nothing was written")
    assert ran.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [".other.partial-1"]


def test_each_stage_has_the_whole_time_limit() -> None:
    ran = guard(
        "note(seconds=0.8)\nfor number in range(4):\n    time.sleep(0.3)\n    note(stage=str(number))\nsys.exit(0)"
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_child_ends_with_the_parent(number: signal.Signals, tmp_path: Path) -> None:
    code = PRELUDE + "    Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)\nguarded(run)\n"
    told = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", code, str(told)], stderr=subprocess.PIPE)
    while not (told.exists() and told.read_text()):
        time.sleep(0.02)
    parent.send_signal(number)
    _, said = parent.communicate()
    assert parent.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert said == (b"interrupted\n" if number == signal.SIGTERM else b"")
    for _ in range(200):
        try:
            os.kill(int(told.read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("the child outlived its parent")


def test_a_module_that_crashes_is_an_error_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text("import os\ndef make():\n    os.abort()\n")
    ran = subprocess.run(
        [sys.executable, "-m", "attn2trt", "deploy", "py:crashing:make", "--shape", "2x3x8x8"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "error: resolving the target: the process was killed by SIGABRT" in ran.stderr
    assert not (tmp_path / "bundles").exists()
