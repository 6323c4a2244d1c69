"""Several targets in one call: each in a child, printed in order, and none kept from being done by another."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_run import refused
from cli_run import run as run_command
from deployed_once import PLAIN, deployed_once
from waiting import is_running, wait_for, wait_for_text

PRELUDE = """
import os, signal, sys, time
from pathlib import Path
import click
from attn2trt.cli.several import run_each
from attn2trt.errors import InputError
from attn2trt.core.processes import note

# a shell ignores it for what it runs in the background
signal.signal(signal.SIGINT, signal.default_int_handler)

def run(target):
"""


def script(body: str, targets: str, jobs: int = 2, *, as_json: bool = False) -> str:
    """A program that does ``body`` for each of the targets."""
    call = f"run_each({targets.split()!r}, run, jobs={jobs}, as_json={as_json})"
    ending = f"try:\n    sys.exit({call})\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    return PRELUDE + "".join(f"    {line}\n" for line in body.splitlines()) + ending


def several(body: str, targets: str, jobs: int = 2, *, as_json: bool = False) -> subprocess.CompletedProcess[str]:
    """Run it, in a process that has imported nothing else."""
    command = [sys.executable, "-c", script(body, targets, jobs, as_json=as_json)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_they_say_comes_in_the_order_of_the_targets() -> None:
    ran = several("time.sleep(0.5 if target == 'a' else 0)\nprint('done', target)\nreturn 0", "a b c")
    assert ran.stdout.splitlines() == ["a", "done a", "b", "done b", "c", "done c", "3 of 3 passed"]
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("return 1 if target == 'b' else 0", 1, ""),
        ("if target == 'b':\n    raise InputError('received b; expected c; correct it')", 2, "received b"),
        ("1 / 0 if target == 'b' else None", 70, "internal error: ZeroDivisionError"),
        ("os.abort() if target == 'b' else None", 1, "was killed by SIGABRT"),
        ("os.kill(os.getppid(), signal.SIGKILL) if target == 'b' else None", 1, "was ended by SIGKILL; run it alone"),
        ("if target == 'b':\n    note(seconds=0.3)\n    time.sleep(60)", 1, "did not finish within 0.3 s"),
    ],
)
def test_one_that_fails_keeps_no_other_from_being_done(body: str, code: int, words: str) -> None:
    ran = several(body, "a b c", jobs=1)
    assert ran.returncode == code
    assert ran.stdout.splitlines() == ["a", "b", "c", f"2 of 3 passed; not: b (exit code {code})"]
    assert words in ran.stderr
    assert ran.stderr.count("\n") == bool(words)


def test_the_time_limit_of_the_command_holds_for_each() -> None:
    body = "time.sleep(60) if target == 'b' else None"
    code = script(body, "a b").replace("def run", "note(seconds=0.5)\n\ndef run")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "did not finish within 0.5 s (--time-limit)" in ran.stderr


def test_json_is_one_document() -> None:
    body = "if target == 'b':\n    raise InputError('received b')\nprint('{\"path\": 1}')\nreturn 0"
    code = script(body, "a b", as_json=True)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert json.loads(ran.stdout) == {
        "passed": False,
        "targets": [
            {"target": "a", "exit_code": 0, "bundle": {"path": 1}, "error": ""},
            {"target": "b", "exit_code": 2, "bundle": None, "error": "error: received b"},
        ],
    }
    assert ran.returncode == 2


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_than_so_many_are_at_work(jobs: int, tmp_path: Path) -> None:
    mark = f"mark = Path({str(tmp_path)!r}) / target\nmark.touch()\ntime.sleep(0.3)\n"
    count = f"print('at work', len(list(Path({str(tmp_path)!r}).iterdir())))\nmark.unlink()\n"
    count += "print(os.environ['OMP_NUM_THREADS'], 'threads')\nreturn 0"
    ran = several(mark + count, "a b c d", jobs=jobs)
    seen = [int(line.split()[-1]) for line in ran.stdout.splitlines() if line.startswith("at work")]
    assert len(seen) == 4
    assert max(seen) <= jobs
    # each has its share of the cores
    share = max(1, (os.cpu_count() or 1) // jobs)
    assert ran.stdout.count(f"{share} threads\n") == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_and_leaves_no_half_bundle(number: signal.Signals, tmp_path: Path) -> None:
    noted = f"folder = Path({str(tmp_path)!r})\nhalf = folder / f'.x{{target}}.partial-7'\n"
    half = "note(destination=str(folder / f'x{target}'))\nhalf.mkdir()\n"
    body = f"{noted}{half}(folder / target).write_text(str(os.getpid()))\ntime.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script(body, "a b c")], stdout=subprocess.PIPE)
    told = [int(wait_for_text(tmp_path / name, of=parent)) for name in "ab"]
    parent.send_signal(number)
    parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert not any(map(is_running, told))


def test_a_child_that_must_end_before_it_is_ready_takes_no_other_along() -> None:
    early = "from attn2trt.core import fork\n"
    early += "fork.die_with_parent = lambda: os.kill(os.getpid(), signal.SIGTERM)\n\ndef run"
    code = script("return 0", "a b", jobs=2).replace("def run", early, 1)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    # each is a target that was ended, not an interrupt of the command
    assert ran.stderr.count("was ended by SIGTERM; run it alone") == 2
    assert ran.stdout.splitlines()[-1] == "0 of 2 passed; not: a (exit code 1), b (exit code 1)"


def test_what_a_killed_call_leaves_the_next_one_removes(tmp_path: Path) -> None:
    """Whatever the next command does: here it is one target, which needs no temporary folder of its own."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    body = f"Path({str(tmp_path)!r}, 'ready').write_text('now')\ntime.sleep(60)"
    killed = subprocess.Popen([sys.executable, "-c", script(body, "a b")], env=environment)
    wait_for_text(tmp_path / "ready", of=killed)
    killed.kill()
    killed.wait()
    assert [path.is_dir() for path in tmp_path.glob("attn2trt-targets-*")] == [True]
    code = "import sys\nfrom attn2trt.cli.guard import guarded\nguarded(lambda: sys.exit(0))"

    def is_removed() -> bool:
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        return not list(tmp_path.glob("attn2trt-*"))

    wait_for(is_removed)  # its children end a moment after it


run = functools.partial(run_command, "deploy")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("se", "eca", "-o", "here"), "received -o with 2 targets; expected one target with it"),
        (("se", "eca", "--checkpoint", "hf-hub:owner/name"), "received --checkpoint with 2 targets"),
        (("se", "eca", "se"), "received se twice, for one folder"),
        (("se", "eca", "--jobs", "0"), "Invalid value for '-j'"),
        ((), "Missing argument 'TARGET...'"),
    ],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(run(*arguments))


def test_one_target_is_deployed_one_reused_and_a_third_refused(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shutil.copytree(deployed_once(tmp_path_factory, "se", PLAIN), tmp_path / "bundles" / "se")
    options = ["--shape", *PLAIN["shapes"], "--dynamic", PLAIN["dynamic"], "--for", PLAIN["capabilities"]]
    words = ["deploy", "se", "sae", "eca", *options, "--json", "--jobs", "2"]
    ran = subprocess.run(
        [sys.executable, "-m", "attn2trt", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    document = json.loads(ran.stdout)
    assert [(entry["target"], entry["exit_code"]) for entry in document["targets"]] == [
        ("se", 0),
        ("sae", 2),
        ("eca", 0),
    ]
    assert "received target 'sae'" in document["targets"][1]["error"]
    assert [document["targets"][place]["bundle"]["passed"] for place in (0, 2)] == [True, True]
    assert [document["targets"][place]["bundle"]["reused"] for place in (0, 2)] == [True, False]
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == ["eca", "se"]
    assert ran.returncode == 2
    # what is there and unchanged is found without PyTorch
    code = (
        "import builtins\nusual = builtins.__import__\ndef without(name, *rest, **more):\n"
        "    assert name.partition('.')[0] != 'torch'\n    return usual(name, *rest, **more)\n"
        "builtins.__import__ = without\nfrom attn2trt.cli.main import main\nmain()"
    )
    words = ["deploy", "se", "eca", *options]
    again = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.stdout.count("unchanged, reused") == 2, again.stderr
