"""The jobs of a sweep: one command each, with its command line, its folder, what it needs and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from ...core.hidden_folder import shortened
from ...core.input_path import is_there
from ...core.manifest import MANIFEST
from ...core.schedule import Needs, Task
from ...errors import InputError
from ...modules.grammar import parse
from ...modules.target import file_name
from ..options import ONLY_FOR, PrecisionRequest
from .file import SweepFile, folder_of
from .verbs import Verb

BUNDLE = "bundle"
# Options that name what lies elsewhere and may be another one tomorrow.
ELSEWHERE = ("--server=", "--checkpoint=hf-hub:")


@dataclass(frozen=True)
class Job:
    """One command of a sweep.

    Attributes:
        verb: The command.
        target: The target, the bundle or the ONNX file.
        precision: The value of --precision; empty if the command and what it works on have none.
        options: The name of the set of options.
        machine: The name of the kind of machine; empty if it runs on any.
        cell: The folder in the sweep's that its own is in.
        arguments: The options, as on a command line.
        needs: What it takes of a node.
        after: The name of the job whose bundle it takes; empty if it takes none of this sweep's.
        takes_bundle: True if it works on a bundle: of a job before it, or on a copy of one that the file names.
    """

    verb: Verb
    target: str
    precision: str
    options: str
    machine: str
    cell: str
    arguments: tuple[str, ...]
    needs: Needs
    after: str = ""
    takes_bundle: bool = False

    @property
    def name(self) -> str:
        """Its name, unique in the sweep."""
        return f"{self.verb.name} {self.cell}"

    @property
    def words(self) -> str:
        """Its place in the matrix, in words."""
        places = {"options": self.options, "the machine": self.machine}
        return " with ".join(
            [f"{self.verb.name} {self.target}", *(f"{key} {name}" for key, name in places.items() if name)]
        )

    @property
    def folder(self) -> Path:
        """Its folder in that of the sweep."""
        return Path(self.cell, self.verb.name)

    @property
    def task(self) -> Task:
        """The job as the schedule sees it."""
        return Task(self.name, self.needs, self.after)

    @property
    def keeps_bundle(self) -> bool:
        """True if a bundle is part of its result."""
        return self.verb.makes_bundle or self.takes_bundle

    @property
    def is_described(self) -> bool:
        """True if its name, its options and this package's code tell all that it computes.

        A user's module may import files that nothing here knows of, and a server may load another model.
        """
        if any(word.startswith(ELSEWHERE) for word in self.arguments):
            return False
        if self.takes_bundle:
            return True
        try:
            parsed = parse(self.target)
        except InputError:
            return False
        if parsed.has_user_code:
            return False
        names = [part.name for part in (parsed.base, *parsed.insertions)]
        return all(name.replace("_", "").replace(".", "").replace("-", "").isalnum() for name in names)

    def command(self, folder: str, *, force: bool = False) -> list[str]:
        """Return the arguments of attn2trt for a job whose files are in ``folder``."""
        bundle = f"{folder}/{BUNDLE}"
        words = [self.verb.name, bundle if self.takes_bundle else self.target]
        if self.verb.has_precision:
            words += ["--precision", self.precision]
        words += self.arguments
        if self.verb.makes_bundle:
            words += ["-o", bundle, *(["--force"] if force else [])]
        if self.verb.document:
            words += ["-o", f"{folder}/{self.verb.document}"]
        return [*words, "--json"]


def jobs_of(file: SweepFile, arguments: Mapping[tuple[str, str], Sequence[str]]) -> list[Job]:
    """Return every job of the matrix, each after those that it waits for.

    Args:
        file: What the file asks for.
        arguments: The options of each command and set of options, as on a command line.
    """
    jobs: dict[str, Job] = {}
    for target, precision, options in product(file.targets, file.precisions, file.options):
        for machine in file.machines:
            latest = ""
            for verb in file.verbs:
                where = machine if verb.is_on_machine else file.resources
                after = latest if verb.takes != "target" else ""
                is_bundle = verb.takes == "either" and is_there(Path(target, MANIFEST), "file")
                has_precision = verb.has_precision or (bool(after) and any(one.has_precision for one in file.verbs))
                names = (file_name(target), folder_of(precision) if has_precision else "", options.name)
                cell = ".".join(filter(None, names))
                cell = shortened(f"{cell}@{where.name}" if where.name else cell)
                words = arguments[verb.name, options.name]
                job = Job(
                    verb=verb,
                    target=target,
                    precision=precision if has_precision else "",
                    options=options.name,
                    machine=where.name,
                    cell=cell,
                    arguments=tuple(_used(words, precision, file.precisions) if verb.has_precision else words),
                    needs=replace(where.needs, is_alone=verb.is_timed),
                    after=after,
                    takes_bundle=bool(after) or verb.takes == "bundle" or is_bundle,
                )
                if (other := jobs.setdefault(job.name, job)) != job:
                    raise InputError(
                        f"received {job.words} and {other.words} in {file.source}; expected jobs with folders of their "
                        f"own, and both have {job.folder}; give options and machines names without a '.' or '@'"
                    )
                if job.keeps_bundle:
                    latest = job.name
    return list(jobs.values())


def _used(words: Sequence[str], precision: str, precisions: Sequence[str]) -> list[str]:
    """Leave out options that this precision has no use for, if another of the sweep has."""
    unused = [
        f"--{option}="
        for option, able in ONLY_FOR.items()
        if not able & _lower(precision) and any(able & _lower(other) for other in precisions)
    ]
    return [word for word in words if not word.startswith((*unused,))]


def _lower(precision: str) -> frozenset[str]:
    return frozenset(PrecisionRequest(precisions=precision).lower)
