"""Run several targets in one call, in parallel, one per core.

A process that has the libraries forks a child for each target. The output of each child is kept and printed in the
order of the targets; a failure does not stop the others. Without fork (Windows) this is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from ..core.fork import Fork
from ..core.processes import note
from ..core.schedule import Ended, Node, Schedule, Task
from ..core.scratch import scratch
from .ending import finish
from .job import Job, use_threads
from .output import print_json

PAUSE_SECONDS = 0.05


class _Forks:
    """The targets as jobs of this machine, each a child that does ``work``."""

    def __init__(self, jobs: Sequence[Job], work: Callable[[Job], int], at_once: int) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._work = work
        self._node = Node("here", "here", os.cpu_count() or 1, places=at_once)
        self._running: dict[str, Fork] = {}

    def nodes(self) -> list[Node]:
        """Return this machine."""
        return [self._node]

    def start(self, name: str, _node: Node, _attempt: int) -> None:
        """Fork a child for the target."""
        job = self._jobs[name]
        self._running[name] = job.start(lambda: finish(lambda: self._work(job), debug="--debug" in sys.argv))

    def wait(self) -> list[Ended]:
        """Return the targets that are done. Each has a time limit of its own: this process only says that it lives."""
        for name, child in self._running.items():
            code = child.poll()
            if code is not None:
                del self._running[name]
                self._jobs[name].end(code)
                return [Ended(name, code == 0)]
        note(stage="waiting for the targets")
        time.sleep(PAUSE_SECONDS)
        return []

    def stop(self) -> None:
        """Ask the children to end and to clean up, and wait for them."""
        for child in self._running.values():
            child.kill(signal.SIGTERM)
        for child in self._running.values():
            child.wait()


def run_each(targets: Sequence[str], run: Callable[[str], int], *, jobs: int, as_json: bool) -> int:
    """Call ``run`` for every target, ``jobs`` at a time, in children that share the cores.

    Returns 0 if every target passed, else the code of the first that did not.
    """
    if not hasattr(os, "fork"):
        raise click.UsageError("received several targets; expected one: this system cannot fork; give one at a time")
    signal.signal(signal.SIGTERM, _interrupt)
    with scratch("targets") as folder:
        all_jobs = [Job(target, folder / str(number)) for number, target in enumerate(targets)]
        for job in all_jobs:
            job.prepare()
        share = max(1, (os.cpu_count() or 1) // jobs)

        def work(job: Job) -> int:
            use_threads(share)
            return run(job.name)

        printed = 0
        schedule = Schedule([Task(job.name) for job in all_jobs], _Forks(all_jobs, work, jobs))
        with contextlib.closing(schedule.run()) as events:
            for _ in events:
                while printed < len(all_jobs) and all_jobs[printed].code is not None and not as_json:
                    _show(all_jobs[printed])
                    printed += 1
        codes = [job.code or 0 for job in all_jobs]
        if as_json:
            print_json({"passed": not any(codes), "targets": [_to_json(job) for job in all_jobs]})
        else:
            click.echo(_summary(all_jobs))
        return next(filter(None, codes), 0)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _to_json(job: Job) -> dict[str, Any]:
    """Return what a target printed as JSON, or its line of error; a process that was killed may have printed half."""
    bundle = None
    with contextlib.suppress(ValueError):
        bundle = json.loads(job.output)
    return {"target": job.name, "exit_code": job.code, "bundle": bundle, "error": job.error.strip()}


def _show(job: Job) -> None:
    click.secho(job.name, bold=True)
    click.echo(job.output, nl=False)
    click.echo(job.error, nl=False, err=True)


def _summary(all_jobs: Sequence[Job]) -> str:
    failed = [f"{job.name} (exit code {job.code})" for job in all_jobs if job.code]
    passed = f"{len(all_jobs) - len(failed)} of {len(all_jobs)} passed"
    return f"{passed}; not: {', '.join(failed)}" if failed else passed
