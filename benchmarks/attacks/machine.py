"""Run commands in odd environments, several at once, and twice."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass, field

from attacks.kills import COMMANDS, DEPLOY
from attacks.product import MODEL, REFERENCE
from attacks.record import NotRun, Row, Scene


@dataclass(frozen=True)
class Environment:
    """The oddities: variables (None: not there), redirections or limits of the shell, and the exit codes for it."""

    variables: dict[str, str | None] = field(default_factory=dict)
    shell: str = ""
    codes: tuple[int, ...] = (0,)


ENVIRONMENTS = {
    "no HOME": Environment({"HOME": None}),
    "HOME unwritable": Environment({"HOME": "/proc/nowhere"}),
    "no TMPDIR": Environment({"TMPDIR": None}),
    "TMPDIR absent": Environment({"TMPDIR": "/nowhere"}),
    "C locale": Environment({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "ASCII output": Environment({"PYTHONIOENCODING": "ascii"}),
    "one column": Environment({"COLUMNS": "1"}),
    "no columns": Environment({"COLUMNS": "0"}),
    "columns no number": Environment({"COLUMNS": "many"}),
    "dumb terminal": Environment({"TERM": "dumb"}),
    "colours forced": Environment({"FORCE_COLOR": "1"}),
    "hash seed": Environment({"PYTHONHASHSEED": "7"}),
    "optimised": Environment({"PYTHONOPTIMIZE": "2"}),
    "threads 0": Environment({"OMP_NUM_THREADS": "0"}),
    "threads no number": Environment({"OMP_NUM_THREADS": "many"}),
    "no GPU visible": Environment({"CUDA_VISIBLE_DEVICES": ""}),
    "unbuffered": Environment({"PYTHONUNBUFFERED": "1"}),
    "no PATH": Environment({"PATH": None}),
    "time zone": Environment({"TZ": "Nowhere/Nowhere"}),
    "stdout closed": Environment(shell=">&-"),
    "stderr closed": Environment(shell="2>&-"),
    "stdin closed": Environment(shell="<&-"),
    "all closed": Environment(shell="<&- >&- 2>&-"),
    "stdout a pipe without reader": Environment(shell="> >(true)", codes=(0, 1, 4)),
    "stdout full": Environment(shell="> full", codes=(4,)),
    "stderr full": Environment(shell="2> full", codes=(0, 4)),
    "stdout read-only": Environment(shell="1< given", codes=(4,)),
}


def environment(scene: Scene, variation: tuple[str, str]) -> None:
    """Run a command there: it does its work, or says in one line what it lacks; the bundle is whole."""
    name, command = variation
    odd = ENVIRONMENTS[name]
    scene.bundle()
    (scene.folder / "given").write_text("")
    if "full" in odd.shell:
        try:
            os.mknod(scene.folder / "full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        except OSError as error:
            raise NotRun(f"mknod: {error.strerror}") from None
        scene.note("mknod full c 1 7")
    ran = scene.run(*COMMANDS[command], env=odd.variables, shell=odd.shell)
    scene.need(ran.code in odd.codes, f"exit code {ran.code}, expected {odd.codes}: {ran.err.strip()[-300:]}")
    scene.need("Traceback" not in ran.out + ran.err, f"a traceback: {ran.err.strip()[-300:]}")
    if ran.code == 4 and "2>" not in odd.shell:
        scene.need(ran.err.count("error:") == 1, f"no error line: {ran.err.strip()[-300:]}")
    if ran.code == 0 and ">" not in odd.shell:
        scene.need(ran.out.strip(), "nothing was printed")
    scene.whole()
    scene.clean("out", "out/se")


def at_once(scene: Scene, variation: str) -> None:
    """Let commands meet on one folder: each ends as it should, the bundle is whole, nothing is left."""
    scene.bundle()
    {"deploys": _deploys, "stopped": _stopped, "validate": _validate, "namespaces": _namespaces, "tune": _tune}[
        variation
    ](scene)
    scene.whole()
    scene.clean("out", "out/se")


def _deploys(scene: Scene) -> None:
    running = [scene.start(*COMMANDS["deploy"]) for _ in range(2)]
    scene.note("both at once")
    for one in running:
        scene.expect(one.wait(), {0})


def _tune(scene: Scene) -> None:
    running = [scene.start(*COMMANDS["tune"]), scene.start(*COMMANDS["deploy"])]
    scene.note("both at once")
    scene.expect(running[0].wait(), {0, 1, 2, 4}, "tune")
    scene.expect(running[1].wait(), {0, 2, 4}, "deploy")


def _stopped(scene: Scene) -> None:
    first = scene.start(*COMMANDS["deploy"])
    moment = scene.random.uniform(2, 8)
    time.sleep(moment)
    members = first.members()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in members:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if number == signal.SIGSTOP:
            scene.note(f"stopped after {moment:.1f} s, while:")
            # the second may wait for the lock of the first; then it goes on once the first does
            second = scene.start(*COMMANDS["deploy"])
            time.sleep(12)
    scene.expect(first.wait(), {0}, "the stopped one")
    scene.expect(second.wait(), {0}, "the other")


def _validate(scene: Scene) -> None:
    running = scene.start(*COMMANDS["deploy"])
    while running.process.poll() is None:
        scene.expect(scene.run("validate", "out/se"), {0}, "validate meanwhile")
    scene.expect(running.wait(), {0})


def _namespaces(scene: Scene) -> None:
    around = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if not shutil.which("unshare") or subprocess.run([*around, "true"], capture_output=True, check=False).returncode:
        raise NotRun("pid namespaces are not allowed here")
    first = scene.start(*COMMANDS["deploy"])
    time.sleep(scene.random.uniform(1, 6))
    second = scene.start(*COMMANDS["deploy"], around=around)
    scene.note("the second in a pid namespace of its own, while the first is at work")
    scene.expect(first.wait(), {0})
    scene.expect(second.wait(), {0})


VARIED = {
    "hash seeds": ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"}),
    "optimised": ({}, {"PYTHONOPTIMIZE": "2"}),
    "threads": ({}, {"OMP_NUM_THREADS": "0"}),
    "locale": ({"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}),
}


def determinism(scene: Scene, variation: str) -> None:
    """Deploy twice: the same bytes."""
    for place, variables in zip(("one", "two"), VARIED[variation], strict=True):
        scene.expect(scene.run(*DEPLOY[:-1], place, env=variables), {0})
    for name in (MODEL, REFERENCE, "infer.py"):
        same = [(scene.folder / place / name).read_bytes() for place in ("one", "two")]
        scene.need(same[0] == same[1], f"{name} differs")


ROWS = (
    Row("environments", [*itertools.product(ENVIRONMENTS, ("validate", "deploy"))], environment),
    Row("at once", ["deploys", "stopped", "validate", "namespaces", "tune"], at_once),
    Row("determinism", [*VARIED], determinism),
)
