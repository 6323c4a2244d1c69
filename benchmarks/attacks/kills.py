"""Kill a command, or one of its child processes, or ask it to end, at random and at exact moments."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from pathlib import Path

from attacks.product import MODEL
from attacks.record import Row, Running, Scene

DEPLOY = ("deploy", "se", "--shape", "2x16x8x8", "--for", "none", "-o", "out/se")
COMMANDS = {
    "deploy": (*DEPLOY, "--force"),
    "export": ("export", "se", "--shape", "2x16x8x8", "-o", "out/se", "--force"),
    "tune": ("tune", "out/se", "--seconds", "0.2"),
    "validate": ("validate", "out/se"),
    "verify": ("verify", "out/se"),
}
SPAN = {"deploy": 12.0, "export": 9.0, "tune": 8.0, "validate": 1.0, "verify": 0.8}  # seconds, about
# Loaded by the interpreter before the command: dies right before or after one call that changes something below out/.
DEADLY = """
import os, shutil, signal, tempfile
when, moment, whom = os.environ["ATTACK_KILL"].split()
left = int(moment)
def touches(name, arguments, options):
    paths = [os.fsdecode(argument) for argument in arguments if isinstance(argument, (str, bytes, os.PathLike))]
    descriptor = arguments[0] if name == "fsync" else options.get("dir_fd")
    if descriptor is not None:
        folder = os.readlink(f"/proc/self/fd/{descriptor if isinstance(descriptor, int) else descriptor.fileno()}")
        paths = [os.path.join(folder, path) for path in paths or ("",)]
    return any(os.environ["ATTACK_PLACE"] in os.path.abspath(path) for path in paths)
def die():
    os.write(os.open(os.environ["ATTACK_LOG"], os.O_WRONLY | os.O_CREAT), b"killed")
    os.killpg(0, signal.SIGKILL) if whom == "group" else os.kill(os.getpid(), signal.SIGKILL)
def deadly(name, call):
    def called(*arguments, **options):
        global left
        if not touches(name, arguments, options):
            return call(*arguments, **options)
        left -= 1
        if left == -1 and when == "before":
            die()
        given = call(*arguments, **options)
        if left == -1:
            die()
        return given
    return called
for name in CALLS:
    setattr(os, name, deadly(name, getattr(os, name)))
"""


def again(scene: Scene, command: str) -> None:
    """Need that the same command does its work now and leaves nothing else."""
    scene.expect(scene.run(*COMMANDS[command]), {0}, "the same command again")
    scene.whole()
    scene.clean("out", "out/se")


def random_kill(scene: Scene, variation: tuple[str, str]) -> None:
    """Kill a command, or its whole group, at a random moment: the bundle there is whole, the next run cleans up."""
    command, whom = variation
    scene.bundle()
    running = scene.start(*COMMANDS[command])
    moment = scene.random.uniform(0.05, SPAN[command])
    time.sleep(moment)
    scene.note(f"kill -9 of the {whom} after {moment:.2f} s")
    if whom == "group":
        running.kill_all()
    elif running.process.poll() is None:
        running.process.kill()
    running.wait()
    gone_by = time.monotonic() + 15
    while running.members() and time.monotonic() < gone_by:
        time.sleep(0.05)
    scene.need(not running.members(), "processes stayed for 15 s after the command was killed")
    scene.whole()
    again(scene, command)


def exact_kill(scene: Scene, variation: tuple[str, str, str, str]) -> None:
    """Kill a command right before or after one call that changes the bundle's folder."""
    from killing import CALLS

    command, old, when, whom = variation
    if old == "old":
        scene.bundle()
    hook = scene.folder / ".attack-hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(f"CALLS = {CALLS!r}\n" + DEADLY)
    kill = f"{when} {scene.random.randrange(16 if old == 'old' else 10)} {whom}"  # a deploy has about so many
    log = scene.folder / ".attack-killed"
    path = os.pathsep.join([str(hook), str(Path(__file__).resolve().parents[2] / ".typing")])
    env = {"PYTHONPATH": path, "ATTACK_KILL": kill, "ATTACK_LOG": str(log)}
    ran = scene.run(*COMMANDS[command], env={**env, "ATTACK_PLACE": f"{scene.folder}/out"})
    scene.need(ran.code in (0, 1, -9), f"exit code {ran.code}: {ran.err[-300:]}")
    scene.note("killed there" if log.exists() else "ended before that call")
    scene.need("Traceback" not in ran.err, f"a traceback: {ran.err[-300:]}")
    if old == "old" or (scene.folder / "out/se").exists():
        scene.whole()
    again(scene, command)


def grandchildren(running: Running) -> list[int]:
    """The children of the process that works for the command."""
    parents = {}
    for pid in running.members():
        try:
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    return [pid for pid, parent in parents.items() if parents.get(parent) == running.process.pid]


def child_kill(scene: Scene, variation: tuple[str, int]) -> None:
    """Kill the n-th child of the process at work: the failure is not kept, the same command again gives the graph."""
    command, which = variation
    words = DEPLOY if command == "deploy" else COMMANDS[command]
    if command != "deploy":
        scene.bundle()
    running = scene.start(*words)
    seen: list[int] = []
    while running.process.poll() is None and time.monotonic() - running.began < 60:
        seen += [pid for pid in grandchildren(running) if pid not in seen]
        if len(seen) > which:
            time.sleep(scene.random.uniform(0, 0.2))
            try:
                os.kill(seen[which], signal.SIGKILL)
            except ProcessLookupError:
                scene.note("the child had ended")
            break
        time.sleep(0.005)
    scene.note(f"kill -9 of child {which} of the process at work ({len(seen)} seen)")
    scene.expect(running.wait(), {0, 1}, "with the child killed")
    ran = scene.expect(scene.run(*words, "--json"), {0}, "the same command again")
    if command == "deploy" and ran.code == 0:
        scene.need(json.loads(ran.out)["passed"] is True, "the same command again did not pass")
        same = (scene.folder / "out/se" / MODEL).read_bytes() == (scene.prepared / MODEL).read_bytes()
        scene.need(same, "the same command again keeps another graph than a run that nothing disturbed")
    scene.whole()


def signalled(scene: Scene, variation: tuple[str, str, str]) -> None:
    """Send a signal at a random moment: exit code 130 and one line, or the work was done; nothing is left."""
    command, name, whom = variation
    scene.bundle()
    running = scene.start(*COMMANDS[command])
    early = scene.random.random() < 0.25
    moment = scene.random.uniform(0.15, 0.6 if early else SPAN[command])
    time.sleep(moment)
    scene.note(f"SIG{name} to the {whom} after {moment:.2f} s")
    number = signal.Signals[f"SIG{name}"]
    if running.process.poll() is None:
        os.killpg(running.process.pid, number) if whom == "group" else running.process.send_signal(number)
    ran = running.wait(60)
    if ran.code == 130:
        scene.need(ran.err == "interrupted\n", f"stderr is not 'interrupted': {ran.err[-300:]}")
    else:
        scene.need(ran.code == 0, f"exit code {ran.code} after {ran.seconds:.1f} s: {ran.err[-300:]}")
    scene.clean("out", "out/se")
    scene.whole()


ROWS = (
    Row("random kills", [*itertools.product(COMMANDS, ("command", "group"))], random_kill),
    Row(
        "exact kills",
        [
            *itertools.product(("deploy", "export", "tune"), ("old",), ("before", "after"), ("process", "group")),
            *itertools.product(("deploy", "export"), ("new",), ("before", "after"), ("process", "group")),
        ],
        exact_kill,
    ),
    Row("child kills", [*itertools.product(("deploy",), range(3)), ("validate", 0), ("tune", 0)], child_kill),
    Row(
        "signals",
        [
            *itertools.product(
                ("deploy", "export", "tune", "validate"), ("INT", "TERM", "HUP", "QUIT"), ("command", "group")
            )
        ],
        signalled,
    ),
)
