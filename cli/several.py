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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from ..core.fork import Fork, flush
from ..core.processes import note, report_to
from ..core.scratch import scratch
from ..errors import CheckFailed
from .ending import INTERNAL_ERROR, finish
from .guard import guarded
from .output import print_json
from .streams import give_stdout

PAUSE_SECONDS = 0.05


@dataclass
class Job:
    """One target, and the files that hold its process's output."""

    target: str
    folder: Path
    code: int | None = None

    @property
    def output(self) -> str:
        """Return its standard output."""
        return (self.folder / "out").read_text(encoding="utf-8", errors="replace")

    @property
    def error(self) -> str:
        """Return its standard error."""
        return (self.folder / "err").read_text(encoding="utf-8", errors="replace")

    def to_json(self) -> dict[str, Any]:
        """Return what it printed as JSON, or its line of error; a process that was killed may have printed half."""
        bundle = None
        with contextlib.suppress(ValueError):
            bundle = json.loads(self.output)
        return {
            "target": self.target,
            "exit_code": self.code,
            "bundle": bundle,
            "error": self.error.strip(),
        }


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
            job.folder.mkdir()
            for stream in ("out", "err"):  # there also if the child ends before it prints anything
                (job.folder / stream).touch(0o600)
        share = max(1, (os.cpu_count() or 1) // jobs)

        def work(job: Job) -> int:
            _use_threads(share)
            return run(job.target)

        printed = 0
        for _ in _done(all_jobs, work, jobs):
            while printed < len(all_jobs) and all_jobs[printed].code is not None and not as_json:
                _show(all_jobs[printed])
                printed += 1
        codes = [job.code or 0 for job in all_jobs]
        if as_json:
            print_json({"passed": not any(codes), "targets": [job.to_json() for job in all_jobs]})
        else:
            click.echo(_summary(all_jobs))
        return next(filter(None, codes), 0)


def _use_threads(count: int) -> None:
    """Have PyTorch compute with so many threads, whether it is there already or not yet."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if sys.modules.get("torch") is not None:
        from ..engines.torch_runtime import set_threads

        set_threads(count)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _done(all_jobs: Sequence[Job], work: Callable[[Job], int], jobs: int) -> Iterator[Job]:
    """Yield every job as it ends; if this process is interrupted first, its children end and clean up."""
    waiting, running = list(all_jobs), list[tuple[Fork, Job]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                job = waiting.pop(0)
                running.append((_started(job, work), job))
            yield _next(running)
    finally:
        for child, _ in running:
            child.kill(signal.SIGTERM)
        for child, _ in running:
            child.wait()


def _started(job: Job, work: Callable[[Job], int]) -> Fork:
    """Return the process of a child that does the job."""
    parent, child = os.getpid(), Fork()
    try:
        # A child that is asked to end before it is on its own would end as its parent does, taking its siblings along.
        child.start(lambda: _be_child(job, work), in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        return child
    finally:
        if os.getpid() != parent:  # whatever it was, the child does not go back to where the parent is
            os._exit(INTERNAL_ERROR)


def _be_child(job: Job, work: Callable[[Job], int]) -> NoReturn:
    """Do the job and end."""
    code = INTERNAL_ERROR
    try:
        report_to(None)
        out, err = (os.open(job.folder / name, os.O_WRONLY | os.O_TRUNC) for name in ("out", "err"))
        give_stdout(out)
        os.dup2(err, 2)
        # A child of its own for the work: a crash of native code is a line of this target.
        guarded(lambda: finish(lambda: work(job), debug="--debug" in sys.argv))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        flush()
        os._exit(code)


def _next(running: list[tuple[Fork, Job]]) -> Job:
    """Wait for the next child to end. Each has a time limit of its own: this process only says that it lives."""
    while True:
        for child, job in running:
            code = child.poll()
            if code is not None:
                running.remove((child, job))
                job.code = _exit_code(job, code)
                return job
        note(stage="waiting for the targets")
        time.sleep(PAUSE_SECONDS)


def _exit_code(job: Job, code: int) -> int:
    """Return the exit code; a job that a signal ended, as when memory ran out, has failed."""
    if code >= 0:
        return code
    with (job.folder / "err").open("a", encoding="utf-8") as stream:
        stream.write(f"error: the process of {job.target} was ended by {signal.Signals(-code).name}; run it alone\n")
    return CheckFailed.exit_code


def _show(job: Job) -> None:
    click.secho(job.target, bold=True)
    click.echo(job.output, nl=False)
    click.echo(job.error, nl=False, err=True)


def _summary(all_jobs: Sequence[Job]) -> str:
    failed = [f"{job.target} (exit code {job.code})" for job in all_jobs if job.code]
    passed = f"{len(all_jobs) - len(failed)} of {len(all_jobs)} passed"
    return f"{passed}; not: {', '.join(failed)}" if failed else passed
