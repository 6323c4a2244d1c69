"""One run of the user's commands: which of them this machine can run, the order, and where results go."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import gpu_commands_page
from code_hash import code_hash
from gpu_commands_page import PAGE, RESULTS

from attn2trt.engines.tensorrt.versions import read_version
from attn2trt.errors import InputError, MissingRequirement

from . import user_commands
from .archive import Archive
from .check import PAUSE_SECONDS, ROOMS, Found, probe
from .document import Setting
from .drive import Drive, forget_failed
from .estimates import Estimates
from .processes import Processes, alone_in
from .rows import Row, read_rows, write_json
from .schedule import Schedule
from .user_commands import Command
from .user_row import Machine
from .work import Pool, Step

NAME = "gpu_commands.tar"
METHOD = (
    "each command in a process of its own, in the Python that it needs, several at a time on one GPU, benchmarks "
    "alone; its exit code and the essence of its output are compared with what it has to do"
)


class AtOnce(Estimates):
    """Every command starts if there is any time left: each is short, and one that is stopped is listed."""

    def of(self, step: Step) -> float:
        """Seconds that are kept for the step."""
        return 0.0


class UserRun:
    """A run with these arguments; ``python`` is the one with TensorRT."""

    def __init__(self, arguments: argparse.Namespace, python: str) -> None:
        self._arguments = arguments
        self._folder: Path = arguments.folder
        self._deadline = time.monotonic() + 60 * arguments.minutes
        self._setting = Setting(
            sources=code_hash((*ROOMS, "workflows", "cli")), flavour="", tensorrt="", devices=(), driver=""
        )
        self._archive = Archive(self._folder, arguments.archive or self._folder / NAME)
        self.machine = Machine(
            self._folder.resolve(),
            python,
            str(arguments.onnxruntime_gpu.absolute()) if arguments.onnxruntime_gpu else "",
            str(arguments.trt_include.absolute()) if arguments.trt_include else "",
            tuple(arguments.without_tactics),
        )

    def export(self) -> Found:
        """Export alone; returns the document."""
        steps = [command for command in user_commands.commands() if not command.needs_gpu]
        return self._go(steps, "exports.json")

    def whole(self) -> Found:
        """Run everything; returns the document. Raises MissingRequirement if there is no GPU or no TensorRT."""
        found = probe(self.machine.tensorrt, None)
        if found["status"] != "usable" or found["problem"]:
            why = found["problem"] or found["detail"]
            raise MissingRequirement(f"{found['title']} is {found['status']} ({why}); {found['fix']}")
        self._setting = Setting(
            sources=self._setting.sources,
            flavour=found["flavour"],
            tensorrt=found["tensorrt"],
            devices=tuple(found["devices"]),
            driver=found["driver"],
            without_tactics=tuple(self._arguments.without_tactics),
            versions={"tensorrt": found["versions"], "pytorch": probe(sys.executable, None)["versions"]},
        )
        document = self._go(user_commands.commands(), "results.json")
        if is_proven(document):
            PAGE.write_text(gpu_commands_page.page(document), encoding="utf-8")
        return document

    def _go(self, steps: Sequence[Command], name: str) -> Found:
        self._wait_for_another()
        with alone_in(self._folder), Processes(self._folder, self._command, self._environment) as processes:
            drive = self._drive(steps, name)
            for step in steps:
                if why := self.machine.why_not(step) or _why_not_for(step, self._setting.tensorrt):
                    drive.schedule.give_up([step.name], why)
            return drive.go(processes)

    def _wait_for_another(self) -> None:
        """Let a run that exports in this folder come to its end, as long as there is time."""
        while time.monotonic() < self._deadline:
            try:
                with alone_in(self._folder):
                    return
            except InputError:
                time.sleep(PAUSE_SECONDS)

    def _drive(self, steps: Sequence[Command], name: str) -> Drive:
        by_name = {step.name: step for step in steps}
        before = read_rows(self._folder)
        rows = {name: row for name, row in before.items() if name in by_name}
        rows = {name: row for name, row in rows.items() if row["setting"] == self._setting.mark(by_name[name])}
        rows = forget_failed(self._folder, rows) if self._arguments.again else rows
        slots: dict[Pool, int] = {
            "export": self._arguments.exports,
            "build": self._arguments.jobs,
            "light": self._arguments.jobs,
        }
        run = {"minutes": self._arguments.minutes, "jobs": self._arguments.jobs}
        return Drive(
            folder=self._folder,
            steps=by_name,
            schedule=Schedule(steps, rows, slots, AtOnce({}, by_name)),
            document=partial(document, self._setting, run, by_name),
            marks=self._setting.mark,
            name=name,
            deadline=self._deadline,
            keep=self._keep,
            report=lambda line: print(line, flush=True),
        )

    def _keep(self, found: Mapping[str, Any]) -> None:
        """Put the document in its place in the repository once a GPU has run a command, and refresh the archive."""
        if is_proven(found):
            write_json(RESULTS, found)
        self._archive.refresh()

    def _command(self, step: Step) -> list[str]:
        tool = str(Path(__file__).parents[1] / "gpu_commands.py")
        words = ["--step", step.name, "--setting", self._setting.mark(step), "--minutes", str(self._arguments.minutes)]
        for option, value in (
            ("--python-trt", self.machine.tensorrt),
            ("--onnxruntime-gpu", self.machine.onnxruntime_gpu),
            ("--trt-include", self.machine.trt_include),
            ("--beside", str(self._arguments.beside.absolute()) if self._arguments.beside else ""),
        ):
            words += [option, value] if value else []
        tactics = [word for name in self._arguments.without_tactics for word in ("--without-tactics", name)]
        return [sys.executable, tool, str(self._folder), *words, *tactics]

    def _environment(self, step: Step) -> dict[str, str]:
        threads = max(1, (os.cpu_count() or 1) // self._arguments.exports)
        return {"OMP_NUM_THREADS": str(threads)} if step.kind == "export" else {}


def _why_not_for(command: Command, tensorrt: str) -> str:
    """Return why a command is not for this version of TensorRT; empty if it is."""
    here = read_version(tensorrt)
    if here is None:
        return ""
    first, before = read_version(command.first), read_version(command.before)
    if first is not None and here < first:
        return f"TensorRT {tensorrt} reads no such graph; {command.first} does"
    return f"for TensorRT before {command.before}" if before is not None and here >= before else ""


def document(
    setting: Setting,
    run: Mapping[str, Any],
    steps: Mapping[str, Command],
    rows: Mapping[str, Row],
    left: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that is known. ``run`` is how this run was started, ``left`` says why a command has no row."""
    known = [{"needs_gpu": step.needs_gpu, **rows[name]} for name, step in steps.items() if name in rows]
    return {
        "date": date.today().isoformat(),
        "method": METHOD,
        **vars(setting),
        **run,
        "rows": known,
        "proves": {name: steps[name].proves for name in left},
        "not_reached": dict(left),
    }


def is_proven(found: Mapping[str, Any]) -> bool:
    """Return True if a command that needs a GPU has run on one."""
    return bool(found["devices"]) and any(row["needs_gpu"] and row.get("code") is not None for row in found["rows"])
