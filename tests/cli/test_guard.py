"""Whatever ends the process that works, the command ends with one line and a documented exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import is_running, wait_for, wait_for_text

from attn2trt.cli.guard import _Stop, _wait
from attn2trt.core.fork import Fork
from attn2trt.core.processes import Notes

PRELUDE = """
import os, signal, subprocess, sys, time
from pathlib import Path
from attn2trt.cli.guard import guarded
from attn2trt.core.processes import note
def run():
"""


def guard(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``body`` under the guard, in a process that has imported nothing else."""
    code = PRELUDE + "".join(f"    {line}\n" for line in body.splitlines()) + "guarded(run)\n"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 1, 2, 70])
def test_an_end_of_its_own_is_passed_on(code: int) -> None:
    ran = guard(f"print('done')\nsys.exit({code})")
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "done\n", "")


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
    half = "half = Path(sys.argv[1]) / '.mine.partial-7'\nnote(destination=str(half.with_name('mine')))\nhalf.mkdir()"
    (tmp_path / ".other.partial-1").mkdir()
    ran = guard(f"{half}\nnote(stage='tracing')\n{how}", str(tmp_path))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"error: tracing: the process {words}; nothing was written")
    assert ran.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [".other.partial-1"]


@pytest.mark.parametrize("how", ["os.abort()", "note(seconds=0.2)\n    time.sleep(60)", "sys.exit(0)"])
def test_a_death_leaves_no_temporary_folder(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    guard(f"from attn2trt.core.scratch import scratch\nwith scratch('test') as made:\n    {how}")
    assert list(tmp_path.iterdir()) == []


def test_each_stage_has_the_whole_time_limit() -> None:
    ran = guard(
        "note(seconds=1.6)\nfor number in range(3):\n    time.sleep(0.6)\n    note(stage=str(number))\nsys.exit(0)"
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_word_that_was_in_time_counts_though_the_guard_comes_late_to_it() -> None:
    """On a loaded machine it may sleep beyond the limit, with the next stage waiting in the pipe."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.write(writer, b'{"stage": "the next"}\n')
    child = Fork()
    child.start(lambda: (time.sleep(0.3), os._exit(7)), in_child=lambda: None)  # type: ignore[arg-type, return-value]
    notes = Notes(seconds=30.0, heard=time.monotonic() - 60)
    assert _wait(reader, notes, _Stop(child), may_stay=False) == (7, "")
    assert notes.stage == "the next"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_child_ends_with_the_parent(number: signal.Signals, tmp_path: Path) -> None:
    code = PRELUDE + "    Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)\nguarded(run)\n"
    told = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", code, str(told)], stderr=subprocess.PIPE)
    child = int(wait_for_text(told, of=parent))
    parent.send_signal(number)
    _, printed = parent.communicate()
    assert parent.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert printed == (b"interrupted\n" if number == signal.SIGTERM else b"")
    wait_for(lambda: not is_running(child))


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


def deploy(tmp_path: Path, source: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Deploy ``make`` of a file with that source."""
    (tmp_path / "net.py").write_text("import os, sys\n" + source)
    words = ["deploy", "py:net:make", "--shape", "2x3x8x8", "-o", "out/mine", *more]
    return subprocess.run(
        [sys.executable, "-m", "attn2trt", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )


ENDINGS = {
    "os._exit(0)": "the process ended with exit code 0",
    "os._exit(5)": "the process ended with exit code 5",
    "os.execv('/bin/true', ['true'])": "the process ended with exit code 0",
    "sys.exit(0)": "SystemExit: 0",
    "sys.exit()": "SystemExit",
    "raise type('Own', (BaseException,), {})('mine')": "Own: mine",
}


@pytest.mark.parametrize("how", ENDINGS)
def test_an_import_that_ends_the_process_is_bad_input(how: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(f"import os, sys\n{how}\n")
    body = "from attn2trt.cli.ending import finish\nfrom attn2trt.modules.user_code import load\n"
    ran = guard(f"{body}os.chdir(sys.argv[1])\nfinish(lambda: load('py:net:make'))", str(tmp_path))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: received 'py:net:make'; expected to import net")
    assert ENDINGS[how] in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_factory_that_ends_the_process_is_bad_input_of_the_command(tmp_path: Path) -> None:
    ran = deploy(tmp_path, "def make(): os._exit(0)\n", "--json")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "expected to call py:net:make(), and the process ended with exit code 0; nothing was written" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["net.py"]


@pytest.mark.parametrize("how", ENDINGS)
def test_a_forward_that_ends_the_process_fails_with_the_stage(how: str, tmp_path: Path) -> None:
    """Under the guard and the command's own ending, with the bundle's writer, and without the minutes around it."""
    body = (
        "from attn2trt.cli.ending import finish\nfrom attn2trt.core.bundle_writer import BundleWriter\n"
        "def work():\n    with BundleWriter(Path(sys.argv[1])) as writer:\n"
        f"        note(stage='tracing')\n        {how}\n"
        "finish(work)"
    )
    (tmp_path / "there").mkdir()
    ran = guard(body, str(tmp_path / "there" / "mine"))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: tracing: the ")
    assert ENDINGS[how] in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.slow
def test_a_forward_of_a_module_that_ends_the_process_fails_with_the_stage(tmp_path: Path) -> None:
    source = (
        "from torch import nn\nclass Ends(nn.Module):\n    calls = 0\n    def forward(self, x):\n"
        "        Ends.calls += 1\n        if Ends.calls > 3: os._exit(0)\n        return x * 2\nmake = Ends\n"
    )
    ran = deploy(tmp_path, source)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "the process ended with exit code 0 before the work was done; nothing was written" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_a_word_of_the_end_counts_not_how_the_interpreter_ends() -> None:
    ran = guard("import atexit\natexit.register(os._exit, 3)\nprint('done')\nsys.exit(1)")
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "done\n", "")


def test_a_process_left_behind_holds_neither_the_command_nor_its_output() -> None:
    """Its output goes to a pipe here, which a process that stays would keep open."""
    began = time.monotonic()
    ran = guard("subprocess.Popen(['sleep', '60'])\nif not os.fork():\n    time.sleep(60)\nprint('done')\nsys.exit(0)")
    assert (ran.returncode, ran.stdout) == (0, "done\n")
    assert time.monotonic() - began < 30


def test_a_copy_that_goes_on_does_the_work_once(tmp_path: Path) -> None:
    body = (
        "note(stage='first')\nif os.fork():\n    os.wait()\nnote(stage='second')\n"
        "open(sys.argv[1], 'a').write('done')\nprint('done')\nsys.exit(0)"
    )
    ran = guard(body, str(tmp_path / "log"))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")
    assert (tmp_path / "log").read_text() == "done"


def test_raw_writes_to_descriptor_1_are_no_result() -> None:
    body = (
        "import ctypes\nos.system('echo raw')\nos.write(1, b'raw')\nctypes.CDLL(None).puts(b'raw')\n"
        "sys.__stdout__.write('raw')\nprint('result')\nimport atexit\natexit.register(print, 'late')\nsys.exit(0)"
    )
    ran = guard(body)
    assert (ran.returncode, ran.stdout) == (0, "result\n")
    assert ran.stderr.count("raw") == 4
    assert "late" in ran.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_keep_no_command_from_its_work(closed: str) -> None:
    code = "from attn2trt.cli.streams import open_closed\nopen_closed()\n" + PRELUDE
    code += "    print('done'); sys.exit(7)\nguarded(run)\n"
    ran = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (7, "")
    assert ran.stdout == ("" if closed.startswith(">&-") else "done\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("heard", ["heard", "deaf"])
def test_each_signal_to_the_command_alone_is_an_interrupt(number: signal.Signals, heard: str, tmp_path: Path) -> None:
    """Also for native code that runs on, which ``deaf`` stands for."""
    body = "half = Path(sys.argv[1]) / '.mine.partial-7'\nnote(destination=str(half.with_name('mine')))\nhalf.mkdir()\n"
    body += "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n" if heard == "deaf" else ""
    body += "(half / 'ready').write_text('now')\ntime.sleep(60)"
    code = PRELUDE + "".join(f"    {line}\n" for line in body.splitlines())
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + code
    code += "import attn2trt.cli.guard\nattn2trt.cli.guard.GRACE_SECONDS = 0.5\nguarded(run)\n"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE)
    wait_for_text(tmp_path / ".mine.partial-7" / "ready", of=parent)
    parent.send_signal(number)
    assert parent.communicate(timeout=60)[1] == b"interrupted\n"
    assert parent.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_command_ends_though_what_cleans_up_hangs(tmp_path: Path) -> None:
    body = "(Path(sys.argv[1]) / 'ready').write_text('now')\ntime.sleep(60)"
    code = PRELUDE + "".join(f"    {line}\n" for line in body.splitlines())
    code += "from attn2trt.cli import guard, leftovers\nguard.END_SECONDS = 1.0\n"
    code += "leftovers.end = lambda _: time.sleep(60)\nguarded(run)\n"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    wait_for_text(tmp_path / "ready", of=parent)
    parent.send_signal(signal.SIGQUIT)
    assert parent.wait(60) == 130


ALONE = """
import gc, os, signal, sys, threading, time
from attn2trt.cli import guard, main
from attn2trt.core.processes import note
guard.AGAIN_SECONDS, guard.END_SECONDS = 0.2, 5.0
def hang():
    try:
        time.sleep(60)
    finally:
        time.sleep(60)
class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGQUIT)
        "".join(str(number) for number in range(99))
"""


@pytest.mark.parametrize(
    "body",
    [
        "Finalised()\ntime.sleep(60)",
        "sys.unraisablehook = lambda lost: None\nFinalised()\ntime.sleep(60)",
        "try:\n    os.kill(os.getpid(), signal.SIGQUIT)\nexcept BaseException:\n    note(stage='next')\nprint('done')",
        "threading.Thread(target=hang).start()\nos.kill(os.getpid(), signal.SIGQUIT)",
        "threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGQUIT]).start()\nhang()",
    ],
    ids=["lost in a finaliser", "lost without a word", "caught by a library", "a thread stays", "cleaning up hangs"],
)
def test_an_interrupt_ends_a_command_that_works_in_the_process_itself(body: str) -> None:
    """Python loses an interrupt that a finaliser raises, and waits in the end for threads that wait for ever."""
    run = "".join(f"    {line}\n" for line in body.splitlines())
    code = f"{ALONE}def run():\n{run}main.run = run\nsys.argv = ['attn2trt', 'tune', 'a']\nmain.main()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "interrupted\n")


def test_a_signal_that_was_ignored_before_stays_ignored() -> None:
    """``nohup`` and a shell's background jobs count on it."""
    body = "os.kill(os.getppid(), signal.SIGHUP)\nos.kill(os.getpid(), signal.SIGHUP)\ntime.sleep(0.2)\nsys.exit(0)"
    code = PRELUDE + "".join(f"    {line}\n" for line in body.splitlines())
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + code + "guarded(run)\n"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.slow
def test_a_module_that_changes_the_folder_does_not_take_the_bundle_with_it(tmp_path: Path) -> None:
    source = (
        "from torch import nn\nclass Moves(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.c = nn.Conv2d(3, 4, 1)\n    def forward(self, x):\n        os.chdir('/')\n"
        "        return self.c(x)\nmake = Moves\n"
    )
    ran = deploy(tmp_path, source, "--json")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / "mine" / "bundle.json").is_file()
    assert json.loads(ran.stdout)["path"] == str(tmp_path / "out" / "mine")
