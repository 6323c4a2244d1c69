"""Run a matrix of commands, on this machine or on a Ray cluster, and put their results into one folder."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.arguments import checked
from ..core.plain_data import plain
from ..core.schedule import Ended, Event, Schedule
from ..engines.timing.machine import physical_cores
from ..errors import Attn2trtError, InputError
from ..report.sweep_table import BY_CODE, Status, SweepRow, sweep_csv
from .report import report_page, why_no_page
from .sweeps.command_worker import CommandWorker, located
from .sweeps.file import SweepFile, parse, read_file
from .sweeps.folders import COMMAND, MARKER
from .sweeps.local import LocalBackend
from .sweeps.matrix import Job, jobs_of
from .sweeps.results import Result, Results

if TYPE_CHECKING:
    from .sweeps.ray_cluster import RayBackend

RETRIES = 2
# The seconds that a job waits for a node that can run it, on a cluster whose nodes come and go.
PATIENCE_SECONDS = 60.0
TABLE, PAGE = "sweep.csv", "report.html"


@dataclass(frozen=True)
class Progress:
    """Something that happened in a sweep; as text, a line about it.

    Attributes:
        event: What happened.
        done: The jobs that are done.
        total: All jobs.
        row: The row of the table, of a job that is done.
    """

    event: Event
    done: int
    total: int
    row: SweepRow | None = None

    def __str__(self) -> str:
        event, place = self.event, f" on {self.event.node}" if self.event.node else ""
        if event.kind == "started":
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            return f"[{self.done}/{self.total}] {event.task}: started{place}{again}"
        if event.kind == "died":
            return f"[{self.done}/{self.total}] {event.task}: died{place}, to be run again: {event.why}"
        row = self.row
        if row is None:
            return f"[{self.done}/{self.total}] {event.task}: {event.kind}"
        time = "" if row.seconds is None or row.reused else f" in {row.seconds:.1f} s{place}"
        return f"[{self.done}/{self.total}] {event.task}: {'reused, ' * row.reused}{row.status}{time}: {row.found}"


@dataclass(frozen=True)
class Sweep:
    """The result of a sweep; true if every job passed.

    Attributes:
        path: Its folder.
        rows: One for each job, in the order of the matrix.
        report: The page of all bundles; None if there is no bundle, or no page could be written.
        notes: Sentences about what could not be written.
    """

    path: Path
    rows: tuple[SweepRow, ...]
    report: Path | None
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rows) and all(row.status == "passed" for row in self.rows)

    @property
    def exit_code(self) -> int:
        """Return 0 if every job passed, 1 if a verdict failed or a job died, else the code of the first that did not.

        A job that no node can run counts as 3.
        """
        codes = [row.sweep_code for row in self.rows]
        return 1 if 1 in codes else next(filter(None, codes), 0)

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        return {
            "command": COMMAND,
            "path": str(self.path),
            "passed": bool(self),
            "report": None if self.report is None else str(self.report),
            "notes": [*self.notes],
            "jobs": [plain(row) for row in self.rows],
        }


@checked
def sweep(
    file: Path | str | Mapping[str, Any],
    *,
    out: Path | str | None = None,
    jobs: int | None = None,
    ray: str | None = None,
    shared: bool = False,
    retries: int = RETRIES,
    patience: float = PATIENCE_SECONDS,
    resume: bool = False,
    force: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> Sweep:
    """Run every job of a sweep; a job that fails does not stop the others.

    Failed jobs do not raise: ``sweep(...)`` is then false, and its rows say why.

    Args:
        file: The TOML file, or its content as a dict.
        out: The folder of the results; by default the file's name without its ending.
        jobs: The most jobs at a time on this machine; by default its cores.
        ray: The address of a Ray cluster to run on, ``"auto"`` for the one of this machine.
        shared: ``out`` is on storage that every node of the cluster sees at the same path; results stay there.
        retries: How often a job is run again whose process was killed or whose node was lost.
        patience: Seconds to wait for a node of the cluster that can run a job.
        resume: Take the results of an earlier sweep in ``out`` that another run would give again.
        force: Run every job, also if ``out`` has its result.
        progress: Called with everything that happens.

    Raises:
        InputError: The file has a mistake, an argument is wrong, or ``out`` is neither free nor a sweep's.
        MissingRequirement: Ray is not installed, or there is no cluster at the address.
        StorageError: Another sweep is at work in ``out``, or reading or writing failed.
    """
    asked = read_file(Path(file)) if isinstance(file, str | Path) else parse(file, "the sweep")
    folder = _folder(file, out)
    _check_arguments(jobs=jobs, ray=ray, shared=shared, retries=retries, patience=patience)
    with CommandWorker() as worker:
        everything = _jobs(asked, worker)
        by_name = {job.name: job for job in everything}
        results = Results(folder, everything, resume=resume, force=force)
        for job in everything:
            if not job.after:
                results.key(job)  # a target that is no bundle is an error of the file, before anything is written
        with _cluster(ray) as cluster, results:
            results.write(MARKER, json.dumps({"command": COMMAND, "id": uuid.uuid4().hex, "jobs": []}) + "\n")
            backend = _backend(by_name, results, worker, jobs=jobs, cluster=cluster, shared=shared)
            schedule = Schedule(
                [job.task for job in everything],
                backend,
                retries=retries,
                patience=patience if ray else 0.0,
                known=lambda name: _known(results, by_name[name], backend),
            )
            rows = _run(schedule, by_name, progress)
            return _write(results, [rows[job.name] for job in everything])


def _folder(file: Path | str | Mapping[str, Any], out: Path | str | None) -> Path:
    if out is not None:
        return Path(out)
    if isinstance(file, Mapping):
        raise InputError("received a sweep as a dict without out; expected a folder for its results; give out")
    stem = Path(file).stem
    if Path(stem).exists() and not Path(stem).is_dir():
        raise InputError(f"{stem} is no folder; expected one for the results; give another with -o")
    return Path(stem)


def _check_arguments(*, jobs: int | None, ray: str | None, shared: bool, retries: int, patience: float) -> None:
    if jobs is not None and jobs < 1:
        raise InputError(f"received {jobs} jobs at a time; expected 1 or more; correct jobs")
    if retries < 0:
        raise InputError(f"received {retries} retries; expected 0 or more; correct retries")
    if not 0 <= patience < float("inf"):
        raise InputError(f"received a patience of {patience} seconds; expected 0 or more; correct patience")
    if ray is not None and jobs is not None:
        raise InputError(
            "received --jobs with --ray; expected one of them: on a cluster the CPUs of the nodes count; leave --jobs "
            "out"
        )
    if shared and ray is None:
        raise InputError("received --shared without --ray; expected it with a cluster; leave it out")


def _jobs(asked: SweepFile, worker: CommandWorker) -> list[Job]:
    """Return the jobs; InputError for an option that its command does not have or would not take."""
    arguments: dict[tuple[str, str], list[str]] = {}
    for options in asked.options:
        for verb in asked.verbs:
            common, own = asked.common.get(verb.name, {}), options.values.get(verb.name, {})
            for values, where in (
                (common, f"[{verb.name}]"),
                (own, f"{verb.name} of [[options]] named {options.name!r}"),
                ({**common, **own}, f"[{verb.name}] with [[options]] named {options.name!r}"),
            ):
                try:
                    words = worker.arguments(verb.name, values) if values else []
                except InputError as error:
                    raise located(error, asked.source, where) from None
            arguments[verb.name, options.name] = words
    return jobs_of(asked, arguments)


def _cluster(address: str | None) -> AbstractContextManager[Any]:
    """Return the connection to a cluster, as the module of Ray; nothing without an address."""
    if address is None:
        return contextlib.nullcontext()
    from .sweeps.ray_cluster import connected

    return connected(address)


def _backend(
    by_name: Mapping[str, Job], results: Results, worker: CommandWorker, *, jobs: int | None, cluster: Any, shared: bool
) -> LocalBackend | RayBackend:
    """Return what runs the jobs. The schedule ends it."""
    if cluster is None:
        return LocalBackend(by_name, results, worker, min(len(by_name), jobs or physical_cores()))
    from .sweeps.ray_cluster import RayBackend

    return RayBackend(by_name, results, cluster, shared=shared)


def _known(results: Results, job: Job, backend: LocalBackend | RayBackend) -> Ended | None:
    found = results.known(job, backend.machines)
    return None if found is None else Ended(job.name, found.code == 0, result=found)


def _run(
    schedule: Schedule, jobs: Mapping[str, Job], progress: Callable[[Progress], object] | None
) -> dict[str, SweepRow]:
    """Run the schedule to its end; return the row of each job by name."""
    rows: dict[str, SweepRow] = {}
    with contextlib.closing(schedule.run()) as events:
        for event in events:
            row = None
            if event.kind not in ("started", "died"):
                row = rows[event.task] = _row(jobs[event.task], event)
            if progress is not None:
                progress(Progress(event, len(rows), len(jobs), row))
    return rows


def _row(job: Job, event: Event) -> SweepRow:
    """Return the row of a job that is done, or that was not run."""
    result = event.ended.result if event.ended is not None else None
    blank = SweepRow(
        verb=job.verb.name,
        target=job.target,
        precision=job.precision,
        options=job.options,
        machine=job.machine,
        folder=str(job.folder),
        status="skipped" if event.kind == "skipped" else "missing",
        found=event.why,
    )
    if not isinstance(result, Result):
        return blank
    status: Status = "died" if result.died else BY_CODE.get(result.code, "error")
    return replace(
        blank,
        status=status,
        exit_code=result.code or int(bool(result.died)),
        seconds=result.seconds,
        attempts=result.attempts,
        node=result.node,
        reused=result.reused,
        found=result.found,
        latency_ms=result.latency_ms,
        key=result.key,
    )


def _write(results: Results, rows: list[SweepRow]) -> Sweep:
    """Write the table and the page of all bundles."""
    notes: list[str] = []
    page: Path | None = None
    bundles = results.bundles()
    if bundles:
        try:
            if why := why_no_page():
                notes.append(f"{PAGE} was not written: {why}")
            else:
                results.write(PAGE, report_page(bundles))
                page = results.folder / PAGE
        except Attn2trtError as error:
            notes.append(f"{PAGE} was not written: {error}")
    found = Sweep(results.folder, tuple(rows), page, tuple(notes))
    results.write(TABLE, sweep_csv(rows))
    results.write(MARKER, json.dumps(found.to_json(), indent=1) + "\n")
    return found
