"""One run of the user's commands: which of them this machine can run, the order, and where results go."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import gpu_commands_page

from attn2trt.engines.tensorrt.versions import read_version
from attn2trt.errors import InputError, MissingRequirement

from . import user_commands
from .check import PAUSE_SECONDS, ROOMS, Check, Found, probe
from .document import Setting
from .estimates import AtOnce, Estimates
from .processes import alone_in
from .rows import Row
from .user_command import Command
from .user_row import Machine
from .work import Step

NAME = "gpu_commands.tar"
METHOD = (
    "each command in a process of its own, in the Python that it needs, several at a time on one GPU, benchmarks "
    "alone; its exit code and the essence of its output are compared with what it has to do"
)


class UserRun(Check):
    """A run with these arguments; ``python`` is the one with TensorRT."""

    rooms = (*ROOMS, "workflows", "cli")
    page, archive = gpu_commands_page, NAME

    def __init__(self, arguments: argparse.Namespace, python: str) -> None:
        super().__init__(arguments, python)
        self.slots["light"] = arguments.jobs
        self.machine = Machine(
            self._folder.resolve(),
            python,
            str(arguments.onnxruntime_gpu.absolute()) if arguments.onnxruntime_gpu else "",
            str(arguments.trt_include.absolute()) if arguments.trt_include else "",
            tuple(arguments.without_tactics),
        )

    def export(self) -> Found:
        """Export alone; returns the document."""
        return self._go([command for command in self._steps() if not command.needs_gpu], "exports.json")

    def whole(self) -> tuple[Found, str]:
        """Run everything; returns the document. Raises MissingRequirement if there is no GPU or no TensorRT."""
        self._setting = self._setting_of(self._probed())
        found = self._go(self._steps(), "results.json")
        self._write_page(found)
        return found, ""

    def _steps(self) -> list[Command]:
        return user_commands.commands()

    def _document(
        self, run: Mapping[str, Any], steps: Mapping[str, Step], rows: Mapping[str, Row], left: Mapping[str, str]
    ) -> Found:
        return document(self._setting, run, steps, rows, left)

    def _estimates(self, before: Mapping[str, Row], steps: Mapping[str, Step]) -> Estimates:
        return AtOnce({}, steps)

    def _probed(self) -> Found:
        found = probe(self.machine.tensorrt, None)
        if found["status"] != "usable" or found["problem"]:
            why = found["problem"] or found["detail"]
            raise MissingRequirement(f"{found['title']} is {found['status']} ({why}); {found['fix']}")
        return {
            **found,
            "versions": {"tensorrt": found["versions"], "pytorch": probe(sys.executable, None)["versions"]},
        }

    def _go(self, steps: Sequence[Command], name: str) -> Found:
        self._wait_for_another()
        with alone_in(self._folder), self._processes() as processes:
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
        return [sys.executable, tool, str(self._folder), *words, *self._tactics()]

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
