"""The folder of a sweep: the result of each job in a folder of its own, known again by the hash of what it depends on.

A job's ``result.json`` is written last and in one step, so that a job without one is not done. Nothing that a sweep did
not write is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...core.bundle import Bundle, open_bundle
from ...core.file_hashes import sha256, verify
from ...core.lock import Lock, try_lock
from ...core.manifest import HASH, MANIFEST, manifest_hash, manifest_text
from ...core.snapshot import copy_files
from ...errors import Attn2trtError, StorageError
from ...modules.checkpoint_file import sha256 as weights_sha256
from ...modules.checkpoint_file import split
from ...modules.grammar import parts_of
from ...validate.predictions.samples import walk
from ..reuse import content_key, was_interrupted
from .finding import Finding, finding_of
from .folders import (
    COMMAND,
    ERRORS,
    OUTPUT,
    OWN,
    RESULT,
    WORK,
    check_job_folder,
    check_place,
    read_json,
    remove_bundle,
    write_text,
)
from .matrix import BUNDLE, Job


@dataclass(frozen=True)
class Result:
    """The result of a job, as its ``result.json`` holds it.

    Attributes:
        key: The hash of all that the job depends on.
        code: The exit code of its command.
        seconds: Its time.
        node: Where it ran.
        attempts: How often it was run.
        died: The reason, if it died, also the last time.
        found: What was found, or the error.
        latency_ms: The median of the fastest runtime, of a benchmark.
        content: The hash of its bundle's manifest and of its document, which the next job's key holds.
        versions: The packages on the machine that ran it.
        machine: What is known of that machine, if the result is about it; empty for any other.
        reused: True if it was there before.
    """

    key: str
    code: int
    seconds: float
    node: str
    attempts: int
    died: str
    found: str
    latency_ms: float | None
    content: Mapping[str, str]
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    reused: bool = False


class Results:
    """The folder of a sweep, locked while this one is at work.

    Args:
        folder: The place.
        jobs: The jobs of the sweep.
        resume: Take results of an earlier sweep that are there.
        force: Run every job anew.

    Raises:
        InputError: The place is neither free nor a sweep's, or has results and neither ``resume`` nor ``force`` is
            given. Nothing was touched.
        StorageError: Another sweep is at work there.
    """

    def __init__(
        self,
        folder: Path,
        jobs: Sequence[Job],
        *,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        self.folder = folder
        self.force = force
        self.results: dict[str, Result] = {}
        self._jobs = {job.name: job for job in jobs}
        self._keys: dict[str, str] = {}
        self._lock = Lock(None)
        check_place(folder, resume=resume or force)
        for job in jobs:
            check_job_folder(folder / job.folder, job)

    def __enter__(self) -> Results:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = try_lock(self.folder)
        if lock is None:
            raise StorageError(f"another sweep is at work in {self.folder}; expected it to end; wait for it, or end it")
        self._lock = lock
        for left in self.folder.glob(f"*/{WORK}*"):
            shutil.rmtree(left, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def write(self, name: str, text: str) -> None:
        """Write a file of the sweep in one step."""
        write_text(self.folder / name, text)

    def key(self, job: Job) -> str:
        """Return the hash of all that a job depends on, as it is before the job runs and after the one before it."""
        if job.name not in self._keys:
            self._keys[job.name] = self._key(job)
        return self._keys[job.name]

    def _key(self, job: Job) -> str:
        options = [word.partition("=")[2] for word in job.arguments]
        names = [part.partition(":")[0].partition("@")[0] for part in parts_of(job.target)]
        read = [_hashes(text) for text in (*options, job.target, *names)]
        parts = {
            "command": job.command("."),
            "read": read,
            "input": self.results[job.after].content if job.after else self._source_hash(job),
            "machine": [job.machine, str(job.needs)] if job.machine else [],
        }
        return content_key(parts)

    def known(self, job: Job, machines: Callable[[Job], Sequence[Mapping[str, Any]]]) -> Result | None:
        """Return the result of before if the job would give it again and every file of it is whole.

        ``machines`` is asked what is known of those that the job can run on, if its result is about one.
        """
        key = self.key(job)  # of the files as they are before the job runs, whether or not it does
        if self.force or not job.is_described:
            return None
        found = _read(self.folder / job.folder / RESULT)
        if found is None or found.died or found.code not in (0, 1) or found.key != key:
            return None
        if not found.content or found.content != _content(self.folder / job.folder, job):
            return None
        if job.keeps_bundle and not all(part.ok for part in verify(self.folder / job.folder / BUNDLE)):
            return None
        if job.verb.is_on_machine and found.machine not in machines(job):
            return None
        self.results[job.name] = replace(found, reused=True)
        return self.results[job.name]

    def source(self, job: Job) -> Bundle | None:
        """Return the bundle that a job works on: of the job before it, or one that the file names; None without."""
        if job.after:
            return open_bundle(self.folder / self._jobs[job.after].folder / BUNDLE)
        return open_bundle(job.target) if job.takes_bundle else None

    def prepare(self, job: Job, work: Path | None = None) -> Path:
        """Make the folder for a job to run in, with a checked copy of the bundle that it works on, and return it.

        An earlier result in it counts no more. An earlier bundle of the same command stays: the command knows whether
        it would make the same.
        """
        folder = self.folder / job.folder if work is None else work
        folder.mkdir(parents=True, exist_ok=True)
        self._clear(folder, job)
        source = self.source(job)
        if source is not None:
            remove_bundle(folder / BUNDLE)
            copy_files(source, source.manifest["files"], folder / BUNDLE)
            shutil.copyfile(source.path / MANIFEST, folder / BUNDLE / MANIFEST)
        return folder

    def _clear(self, folder: Path, job: Job) -> None:
        """Remove an earlier result, ``result.json`` first: without it nothing else counts. The bundle stays."""
        for name in (RESULT, *sorted(OWN), job.verb.document):
            if name:
                (folder / name).unlink(missing_ok=True)

    def put(self, job: Job, work: Path) -> None:
        """Move what an attempt left in a folder of its own into the job's folder."""
        folder = self.folder / job.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._clear(folder, job)
        for entry in sorted(work.iterdir()):
            if entry.name == BUNDLE:
                remove_bundle(folder / BUNDLE)
            entry.replace(folder / entry.name)
        work.rmdir()

    def finish(
        self,
        job: Job,
        *,
        code: int,
        died: str,
        seconds: float,
        node: str,
        attempt: int,
        versions: Mapping[str, str],
        machine: Mapping[str, Any],
    ) -> Result:
        """Read what a job left in its folder, keep the result, and return it."""
        folder = self.folder / job.folder
        folder.mkdir(parents=True, exist_ok=True)
        output, errors = _text(folder / OUTPUT), _text(folder / ERRORS)
        found = finding_of(job.verb.name, output, errors, code)
        if died:
            found = Finding(found.sentence if errors.strip() else died)
        elif job.keeps_bundle and (folder / BUNDLE / MANIFEST).is_file() and code in (0, 1):
            died = _died_inside(folder / BUNDLE)
        result = Result(
            key=self.key(job),
            code=code,
            seconds=round(seconds, 3),
            node=node,
            attempts=attempt,
            died=died,
            found=found.sentence,
            latency_ms=found.latency_ms,
            content=_content(folder, job),
            versions=dict(versions),
            machine=dict(machine),
        )
        _keep_texts(folder, output if not job.keeps_bundle and not job.verb.document else "", errors)
        write_text(folder / RESULT, manifest_text({"command": COMMAND, **_to_json(result)}))
        self.results[job.name] = result
        return result

    def bundles(self) -> list[Path]:
        """Return the latest bundle of each cell, in the order of the jobs."""
        latest: dict[str, Path] = {}
        for job in self._jobs.values():
            path = self.folder / job.folder / BUNDLE
            if job.keeps_bundle and job.name in self.results and (path / MANIFEST).is_file():
                if job.after:  # the bundle before it goes on in this one
                    latest.pop(self._jobs[job.after].cell, None)
                latest[job.cell] = path
        return [*latest.values()]

    def _source_hash(self, job: Job) -> Mapping[str, str]:
        return {} if not job.takes_bundle else {BUNDLE: _manifest_hash(Path(job.target))}


def _content(folder: Path, job: Job) -> dict[str, str]:
    """Return the hashes of a job's bundle and document; empty if one that it should have is not there."""
    found = {}
    if job.keeps_bundle:
        if not (folder / BUNDLE / MANIFEST).is_file():
            return {}
        found[BUNDLE] = _manifest_hash(folder / BUNDLE)
    if document := job.verb.document:
        if not (folder / document).is_file():
            return {}
        found[document] = sha256(folder / document)
    if not found and (folder / "output.json").is_file():
        found["output.json"] = sha256(folder / "output.json")
    return found


def _manifest_hash(folder: Path) -> str:
    bundle = open_bundle(folder)
    return str(bundle.manifest.get(HASH) or sha256(folder / MANIFEST))


def _died_inside(folder: Path) -> str:
    """Return why a verdict says nothing: a process that worked for it was killed. Empty if none was."""
    try:
        interrupted = was_interrupted(open_bundle(folder))
    except (Attn2trtError, KeyError):
        return ""
    return "a process that its command had started was killed or ran out of time" if interrupted else ""


def _hashes(text: str) -> list[str]:
    """Return the hashes of the files that a word of a command names, and of all images in a folder; none if it names
    none."""
    try:
        path, _ = split(Path(text))
        if path == Path() or not path.exists():
            return []
        if path.is_dir():
            return [f"{name} {sha256(path / name)}" for name in walk(path)[0]]
        return [weights_sha256(path)] if path.is_file() else []
    except (Attn2trtError, OSError):  # a folder without photographs, or too long for a path
        return []


def _keep_texts(folder: Path, output: str, errors: str) -> None:
    """Keep what a job printed that is nowhere else."""
    if output.strip():
        write_text(folder / "output.json", output)
    if errors.strip():
        write_text(folder / "errors.txt", errors)
    for name in (OUTPUT, ERRORS):
        (folder / name).unlink(missing_ok=True)


def _to_json(result: Result) -> dict[str, Any]:
    return {key: value for key, value in asdict(result).items() if key != "reused"}


def _read(file: Path) -> Result | None:
    """Return what a ``result.json`` holds; None if it is none of this version, or was changed since."""
    document = read_json(file)
    if not isinstance(document, dict) or document.pop(HASH, None) != manifest_hash(document):
        return None
    if document.pop("command", None) != COMMAND:
        return None
    try:
        return Result(**document)
    except TypeError:
        return None


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
