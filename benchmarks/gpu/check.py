"""One run of the check: what this machine can do, the two Pythons that do it, and where results go."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import tensorrt_page
from code_hash import code_hash

from attn2trt.errors import MissingRequirement

from . import work
from .archive import NAME, PATTERNS, Archive
from .document import Setting, document
from .drive import PAUSE_SECONDS, Drive, forget_failed
from .estimates import Estimates
from .processes import Processes, alone_in
from .rows import Row, read_rows, write_json
from .schedule import Schedule

STEP = Path(__file__).parents[1] / "gpu_step.py"
ROOMS = ("core", "export", "engines", "validate", "modules")
PROBE_SECONDS, WAIT_SECONDS = 120, 3.0
Found = dict[str, Any]


class Check:
    """A run with these arguments; ``python`` is the one with TensorRT. What it does and keeps, a subclass may change.

    Attributes:
        rooms: The rooms of the package on whose code its rows depend.
        page: The module that writes its page: ``RESULTS``, ``PAGE``, ``is_measured(document)``, ``page(document)``.
        archive: The name of its archive.
        patterns: The files that the archive holds, the most wanted first.
        slots: How many steps of each pool may run at once.
    """

    rooms: tuple[str, ...] = ROOMS
    page: ModuleType = tensorrt_page
    archive: str = NAME
    patterns: tuple[str, ...] = PATTERNS

    def __init__(self, arguments: argparse.Namespace, python: str) -> None:
        self._arguments, self._python = arguments, python
        self._folder: Path = arguments.folder
        self._deadline = time.monotonic() + 60 * arguments.minutes
        self._setting = Setting(sources=code_hash(self.rooms), flavour="", tensorrt="", devices=(), driver="")
        archive = arguments.archive or self._folder / self.archive
        self._archive = Archive(self._folder, archive, patterns=self.patterns)
        self.slots: dict[work.Pool, int] = {"export": arguments.exports, "build": arguments.jobs}

    def export(self) -> Found:
        """Export alone; returns the document."""
        with alone_in(self._folder), self._processes() as processes:
            return self._drive(self._exports(), "exports.json").go(processes)

    def whole(self) -> tuple[Found, str]:
        """Do everything; returns the document, and why this machine can run nothing, empty if it can.

        Raises MissingRequirement if there is no usable TensorRT.
        """
        found = None if self._arguments.wait else self._probed()
        with alone_in(self._folder), self._processes() as processes:
            exports = self._exports()
            if found is None:
                found = self._await(exports, processes)
            self._setting = self._setting_of(found)
            steps = self._steps()
            drive = self._drive(steps, "results.json", running=processes.running)
            for name, why in self._impossible(steps, found).items():
                drive.schedule.give_up([name], why)
            known = drive.go(processes)
        self._write_page(known)
        return known, str(found["problem"])

    def _steps(self) -> list[work.Step]:
        """Return all steps, the most wanted first."""
        return work.steps()

    def _exports(self) -> list[work.Step]:
        return [step for step in self._steps() if step.kind == "export"]

    def _document(
        self,
        run: Mapping[str, Any],
        steps: Mapping[str, work.Step],
        rows: Mapping[str, Row],
        left: Mapping[str, str],
    ) -> Found:
        return document(self._setting, run, steps, rows, left)

    def _write_page(self, found: Found) -> None:
        if self.page.is_measured(found):
            self.page.PAGE.write_text(self.page.page(found), encoding="utf-8")

    def _estimates(self, before: Mapping[str, Row], steps: Mapping[str, work.Step]) -> Estimates:
        return Estimates(before, steps)

    def _await(self, exports: Sequence[work.Step], processes: Processes) -> Found:
        """Ask what the Python with TensorRT has, as soon as it works; until then exports go on."""
        waiting = _Waiting(self._python, self._probed)
        drive = self._drive(exports, "exports.json")
        while not waiting.is_over() and time.monotonic() < self._deadline:
            drive.go(processes, until=waiting.is_over)
            time.sleep(PAUSE_SECONDS)
        return waiting.found if waiting.found is not None else self._probed()

    def _probed(self) -> Found:
        found = probe(self._python, self._arguments.targets)
        if found["status"] != "usable":
            raise MissingRequirement(f"{found['title']} is {found['status']} ({found['detail']}); {found['fix']}")
        versions = {"tensorrt": found["versions"], "pytorch": probe(sys.executable, None)["versions"]}
        return {**found, "versions": versions}

    def _setting_of(self, found: Found) -> Setting:
        return Setting(
            sources=self._setting.sources,
            flavour=found["flavour"],
            tensorrt=found["tensorrt"],
            devices=tuple(found["devices"]),
            driver=found["driver"],
            targets=self._arguments.targets,
            without_tactics=tuple(self._arguments.without_tactics),
            versions=found["versions"],
        )

    def _impossible(self, steps: Sequence[work.Step], found: Found) -> dict[str, str]:
        """Return the reason for each step that cannot be done on this machine."""
        impossible = {}
        for step in steps:
            if found["problem"] and step.kind not in work.WITHOUT_GPU:
                impossible[step.name] = str(found["problem"])
            elif self._arguments.targets and step.kind == "plain":
                impossible[step.name] = f"{found['title']} takes a graph's precisions as they are and chooses none"
        return impossible

    def _drive(self, steps: Sequence[work.Step], name: str, running: Sequence[work.Step] = ()) -> Drive:
        by_name = {step.name: step for step in steps}
        before = read_rows(self._folder)
        rows = {name: row for name, row in before.items() if name in by_name}
        rows = {name: row for name, row in rows.items() if row["setting"] == self._setting.mark(by_name[name])}
        rows = forget_failed(self._folder, rows) if self._arguments.again else rows
        run = {"minutes": self._arguments.minutes, "jobs": self._arguments.jobs}
        return Drive(
            folder=self._folder,
            steps=by_name,
            schedule=Schedule(steps, rows, self.slots, self._estimates(before, by_name), running),
            document=partial(self._document, run, by_name),
            marks=self._setting.mark,
            name=name,
            deadline=self._deadline,
            keep=self._keep,
            report=lambda line: print(line, flush=True),
        )

    def _keep(self, found: Mapping[str, Any]) -> None:
        """Put the document in its place in the repository once a GPU has given a result, and refresh the archive."""
        if self.page.is_measured(found):
            write_json(self.page.RESULTS, found)
        self._archive.refresh()

    def _processes(self) -> Processes:
        return Processes(self._folder, self._command, self._environment)

    def _command(self, step: work.Step) -> list[str]:
        python = sys.executable if step.kind in work.WITH_PYTORCH else self._python
        words = ["--step", step.name, "--setting", self._setting.mark(step), "--since", str(time.monotonic())]
        return [python, str(STEP), str(self._folder), *words, *_targets(self._arguments.targets), *self._tactics()]

    def _tactics(self) -> list[str]:
        return [word for name in self._arguments.without_tactics for word in ("--without-tactics", name)]

    def _environment(self, step: work.Step) -> dict[str, str]:
        # PyTorch keeps the kernels that it has chosen in a folder that the timing process reads.
        kept = {"TORCHINDUCTOR_CACHE_DIR": str(self._folder.resolve() / "inductor")}
        threads = str(max(1, (os.cpu_count() or 1) // self._arguments.exports))
        return {**kept, "OMP_NUM_THREADS": threads} if step.kind == "export" else kept


class _Waiting:
    """Asks from time to time whether the Python with TensorRT is there and works."""

    def __init__(self, python: str, probed: Callable[[], Found]) -> None:
        self._python, self._probed = python, probed
        self._next = 0.0
        self.found: Found | None = None

    def is_over(self) -> bool:
        """Return True if it has answered. Raises MissingRequirement if its TensorRT is not usable."""
        if self.found is None and time.monotonic() >= self._next:
            self._next = time.monotonic() + WAIT_SECONDS
            if os.access(self._python, os.X_OK):
                self.found = self._probed()
        return self.found is not None


def probe(python: str, targets: str | None) -> Found:
    """Return what a Python has. Raises MissingRequirement if attn2trt does not work in it."""
    command = [python, str(STEP), "--probe", *_targets(targets)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
        return dict(json.loads(ran.stdout))
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    except ValueError:
        reason = next(iter(ran.stderr.strip().splitlines()[::-1]), f"exit code {ran.returncode}")
    raise MissingRequirement(f"attn2trt does not work in {python} ({reason[:200]}); install it there") from None


def _targets(targets: str | None) -> list[str]:
    return ["--for", targets] if targets else []
