"""The record of one attack, and the scene that it is played in: a temporary folder, a seed, and criteria."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 150.0  # seconds of one command; a command that needs more has not held
PACKAGE = Path(__file__).resolve().parents[2] / ".typing"


class NotRun(Exception):
    """An attack that cannot be run here, with the reason."""


@dataclass(frozen=True)
class Row:
    """A family of attacks: ``attack`` plays one of the variations in a scene."""

    name: str
    variations: Sequence[Any]
    attack: Callable[[Scene, Any], None]


@dataclass(frozen=True)
class Trial:
    """One attack: what it did, and which criteria the product broke."""

    row: str
    number: int
    variation: str
    steps: tuple[str, ...]
    broken: tuple[str, ...]
    not_run: str = ""

    @property
    def held(self) -> bool:
        return not self.broken and not self.not_run


@dataclass(frozen=True)
class Ran:
    """A command that has ended: its exit code (negative: a signal), and what it printed."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass
class Running:
    """A command at work, in a session of its own."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path
    began: float

    def wait(self, seconds: float = LIMIT) -> Ran:
        """Wait for the command alone, never for what it left behind; -9 and a line if it takes longer."""
        late = ""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            code, late = self.process.wait(), f"(did not end within {seconds:g} s)\n"
        texts = [path.read_bytes().decode(errors="replace") for path in (self.out, self.err)]
        return Ran(code, texts[0], late + texts[1], time.monotonic() - self.began)

    def kill_all(self) -> None:
        """Kill the command and what it started; the session is its own."""
        for pid in self.members():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def members(self) -> list[int]:
        """The processes of the command's session that are alive."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    found.append(int(entry.name))
        return found


@dataclass
class Scene:
    """The stage of one attack: ``folder`` is its own, ``prepared`` a whole bundle to copy."""

    folder: Path
    prepared: Path
    random: random.Random
    steps: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    started: list[Running] = field(default_factory=list)

    def note(self, words: str) -> None:
        """Add a step to the reproduction."""
        self.steps.append(words)

    def need(self, holds: object, words: str) -> None:
        """Count a criterion that does not hold as broken."""
        if not holds:
            self.broken.append(words)

    def bundle(self, place: str = "out/se") -> Path:
        """Put a copy of the prepared bundle there."""
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.prepared, target, symlinks=True)
        self.note(f"cp -r PREPARED {place}")
        return target

    def start(
        self, *words: str, env: Mapping[str, str | None] | None = None, around: Sequence[str] = (), shell: str = ""
    ) -> Running:
        """Start ``attn2trt WORDS`` in the folder; ``around`` goes before it, ``shell`` holds redirections after it."""
        command = [*around, sys.executable, "-m", "attn2trt", *words]
        shown = shlex.join([*around, "attn2trt", *words])
        if shell:
            command = ["bash", "-c", f'exec "$@" {shell}', "bash", *command]
        variables = {**os.environ, "PYTHONPATH": str(PACKAGE), "TMPDIR": str(self._temporary())}
        for name, value in (env or {}).items():
            variables.pop(name, None)
            if value is not None:
                variables[name] = value
        set_to = " ".join(f"{name}={value}" for name, value in (env or {}).items())
        self.note(f"{set_to} {shown} {shell}".strip())
        out, err = (self.folder / f".attack-{len(self.started)}.{name}" for name in ("out", "err"))
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
                start_new_session=True,
            )
        running = Running(process, out, err, time.monotonic())
        self.started.append(running)
        return running

    def run(self, *words: str, seconds: float = LIMIT, **options: Any) -> Ran:
        """Start a command and wait for it."""
        return self.start(*words, **options).wait(seconds)

    def expect(self, ran: Ran, codes: Iterable[int], what: str = "") -> Ran:
        """Need one of the exit codes, without traceback, and with one line on stderr if it is an error."""
        name = f"{what}: " if what else ""
        errors = [line for line in ran.err.splitlines() if line.startswith("error:")]
        shown = ran.err.strip()[-300:] or ran.out.strip()[-200:]
        self.need(ran.code in set(codes), f"{name}exit code {ran.code}, expected {sorted(codes)}: {shown}")
        self.need("Traceback (most recent" not in ran.out + ran.err, f"{name}a traceback: {shown}")
        self.need(len(errors) <= 1, f"{name}{len(errors)} error lines: {shown}")
        if ran.code in (2, 3, 4):
            self.need(len(errors) == 1, f"{name}no error line: {shown}")
        return ran

    def whole(self, place: str = "out/se") -> None:
        """Need a bundle there that ``verify`` passes."""
        self.expect(self.run("verify", place), {0}, f"{place} is not whole")

    def clean(self, *places: str) -> None:
        """Need that nothing hidden is left in these folders."""
        for place in places:
            left = [path.name for path in (self.folder / place).glob(".*")]
            self.need(not left, f"left in {place}: {', '.join(left)}")

    def end(self) -> None:
        """Kill what is left of every command."""
        for running in self.started:
            running.kill_all()
            running.process.wait()

    def _temporary(self) -> Path:
        place = self.folder / ".attack-tmp"
        place.mkdir(exist_ok=True)
        return place


def play(row: Row, number: int, seed: int, prepared: Path, work: Path) -> Trial:
    """Play the attack ``number`` of a row: the variations come in a seeded order, each once before any comes again."""
    turn, place = divmod(number, len(row.variations))
    order = random.Random(f"{seed} {row.name} {turn}").sample(range(len(row.variations)), len(row.variations))
    variation = row.variations[order[place]]
    folder = work / f"{row.name.replace(' ', '-')}-{number}"
    folder.mkdir()
    scene = Scene(folder, prepared, random.Random(f"{seed} {row.name} {number}"))
    not_run = ""
    try:
        row.attack(scene, variation)
    except NotRun as reason:
        not_run = str(reason)
    finally:
        scene.end()
        shutil.rmtree(folder, ignore_errors=True)
    plain = [
        text.replace(str(folder), "FOLDER").replace(str(PACKAGE.parent), "REPOSITORY")
        for text in (*scene.steps, *scene.broken)
    ]
    split = len(scene.steps)
    shown = variation if isinstance(variation, str) else " ".join(map(str, variation))
    return Trial(row.name, number, shown, tuple(plain[:split]), tuple(plain[split:]), not_run)
