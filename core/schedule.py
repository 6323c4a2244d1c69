"""Decide which job runs where: what it needs, what it waits for, what must run alone, and what is run again.

A job runs on a node; nodes of one machine share it. Whoever starts processes there is a ``Backend``: forks of this
process, workers of this machine, or a cluster. This file starts nothing and reads no clock but to give up waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

Kind = Literal["started", "ended", "died", "missing", "skipped"]


@dataclass(frozen=True)
class Needs:
    """The resources that a job takes of a node while it runs.

    Attributes:
        cpus: Processors.
        memory_bytes: Memory.
        gpus: GPUs.
        accelerator: The type of GPU, as ``L4``; empty for any.
        is_alone: True if nothing else of this schedule may run on the machine meanwhile.
    """

    cpus: float = 1.0
    memory_bytes: int = 0
    gpus: float = 0.0
    accelerator: str = ""
    is_alone: bool = False

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU{'' if self.cpus == 1 else 's'}"]
        if self.memory_bytes:
            parts.append(f"{self.memory_bytes / 2**30:g} GiB of memory")
        if self.gpus:
            parts.append(f"{self.gpus:g} GPU{'' if self.gpus == 1 else 's'}")
        if self.accelerator:
            parts.append(f"the accelerator {self.accelerator}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Node:
    """A place for jobs.

    Attributes:
        name: Unique among the nodes.
        machine: The machine that it is on; a job that runs alone has the whole of it.
        cpus: Processors.
        memory_bytes: Memory; 0 if unknown, which holds every job.
        gpus: GPUs.
        accelerators: The types of its GPUs.
        places: The most jobs at a time; None to count processors instead.
        shown: The name for people; by default ``name``.
    """

    name: str
    machine: str
    cpus: float
    memory_bytes: int = 0
    gpus: float = 0.0
    accelerators: frozenset[str] = frozenset()
    places: int | None = None
    shown: str = ""

    def could_hold(self, needs: Needs) -> bool:
        """Return True if the idle node could run a job that needs this."""
        return (
            needs.cpus <= self.cpus
            and (not self.memory_bytes or needs.memory_bytes <= self.memory_bytes)
            and needs.gpus <= self.gpus
            and (not needs.accelerator or needs.accelerator in self.accelerators)
        )

    def __str__(self) -> str:
        return self.shown or self.name


@dataclass(frozen=True)
class Task:
    """One job: its name, what it needs, and the name of the job whose result it takes, if it takes one."""

    name: str
    needs: Needs = Needs()
    after: str = ""


@dataclass(frozen=True)
class Ended:
    """A job that has ended: passed or not, or ``died`` with the reason, in which case it is run again."""

    name: str
    passed: bool
    died: str = ""
    result: Any = None


@dataclass(frozen=True)
class Left:
    """A job whose command has ended and takes no more of its node, while its result is still on the way."""

    name: str


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    Attributes:
        kind: ``started``; ``ended`` with a result; ``died``, to be run again; ``missing``: no node can run it;
            ``skipped``: the job that it waits for did not pass.
        task: The job's name.
        node: The node.
        attempt: 1 for the first.
        ended: The result of a job that has ended; of one that died for the last time as well.
        why: The reason, in words.
    """

    kind: Kind
    task: str
    node: Node | None = None
    attempt: int = 0
    ended: Ended | None = None
    why: str = ""


class Backend(Protocol):
    """Starts jobs on nodes."""

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive now."""

    def start(self, name: str, node: Node, attempt: int) -> None:
        """Start a job on a node."""

    def wait(self) -> Sequence[Ended | Left]:
        """Return the jobs that have ended or left their node since, after a moment at most if none has."""

    def stop(self) -> None:
        """End every job that runs, and everything that was started for jobs."""


@dataclass
class _Waiting:
    """A job that does not run yet, or not again yet."""

    task: Task
    order: int
    attempt: int = 1
    died_on: set[str] = field(default_factory=set)
    lacking_since: float | None = None

    def needs_on(self, alive: Sequence[Node]) -> tuple[Needs, list[Node]]:
        """Return what it needs, and the nodes that could hold it: others than where it died, else the whole machine."""
        possible = [node for node in alive if node.could_hold(self.task.needs)]
        elsewhere = [node for node in possible if node.name not in self.died_on]
        if elsewhere or not possible:
            return self.task.needs, elsewhere
        needs = self.task.needs
        alone = Needs(needs.cpus, needs.memory_bytes, needs.gpus, needs.accelerator, is_alone=True)
        return alone, possible


@dataclass(frozen=True)
class _Running:
    waiting: _Waiting
    node: Node
    needs: Needs
    has_left: bool = False


class Schedule:
    """A set of jobs, run once.

    Args:
        tasks: The jobs. Those without ``is_alone`` go first, each kind in this order.
        backend: Starts them.
        retries: How often a job that died is run again: on another node if one can hold it, else alone on its machine.
        patience: Seconds to wait for a node that can run a job before the job is ``missing``.
        known: Is asked for the result of each job before it is started; None has it run.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        backend: Backend,
        *,
        retries: int = 0,
        patience: float = 0.0,
        known: Callable[[str], Ended | None] = lambda _name: None,
    ) -> None:
        self._backend = backend
        self._retries = retries
        self._patience = patience
        self._known = known
        self._waiting = [_Waiting(task, order) for order, task in enumerate(tasks)]
        self._running: dict[str, _Running] = {}
        self._passed: dict[str, bool] = {}  # of the jobs that will not run again

    def run(self) -> Generator[Event, None, None]:
        """Yield what happens until no job is left. Whatever ends this, the jobs that still run are ended."""
        try:
            while self._waiting or self._running:
                yield from self._settle()
                yield from self._start()
                if self._running or self._waiting:
                    for ended in self._backend.wait():
                        if isinstance(ended, Left):
                            self._running[ended.name] = replace(self._running[ended.name], has_left=True)
                        else:
                            yield self._end(ended)
        finally:
            self._backend.stop()

    def _settle(self) -> Iterator[Event]:
        """Skip jobs whose input will not come, and take results that are known already."""
        for waiting in list(self._waiting):
            task = waiting.task
            if task.after and self._passed.get(task.after) is False:
                self._finish(waiting, passed=False)
                yield Event("skipped", task.name, why=f"{task.after} did not pass")
            elif waiting.attempt == 1 and self._is_ready(waiting) and (ended := self._known(task.name)) is not None:
                self._finish(waiting, passed=ended.passed)
                yield Event("ended", task.name, ended=ended)

    def _is_ready(self, waiting: _Waiting) -> bool:
        return not waiting.task.after or self._passed.get(waiting.task.after) is True

    def _start(self) -> Iterator[Event]:
        """Start every job that a node has room for now."""
        ready = [waiting for waiting in self._waiting if self._is_ready(waiting)]
        if not ready:
            return
        alive = self._backend.nodes()
        order = sorted(ready, key=lambda waiting: (waiting.needs_on(alive)[0].is_alone, waiting.order))
        for waiting in order:
            needs, possible = waiting.needs_on(alive)
            if not possible:
                yield from self._lack(waiting, alive)
                continue
            waiting.lacking_since = None
            free = [node for node in possible if self._has_room(node, needs)]
            if free:
                node = min(free, key=lambda node: self._preference(node, needs))
                self._waiting.remove(waiting)
                self._running[waiting.task.name] = _Running(waiting, node, needs)
                self._backend.start(waiting.task.name, node, waiting.attempt)
                yield Event("started", waiting.task.name, node, waiting.attempt)

    def _lack(self, waiting: _Waiting, alive: Sequence[Node]) -> Iterator[Event]:
        """Give a job up that no node has been able to hold for a while."""
        now = time.monotonic()
        if waiting.lacking_since is None:
            waiting.lacking_since = now
        if now - waiting.lacking_since >= self._patience:
            self._finish(waiting, passed=False)
            found = "; ".join(f"{node} has {_capacity(node)}" for node in alive) or "no node is alive"
            yield Event("missing", waiting.task.name, why=f"it needs {waiting.task.needs}, and {found}")

    def _has_room(self, node: Node, needs: Needs) -> bool:
        on_machine = [running for running in self._running.values() if running.node.machine == node.machine]
        if needs.is_alone or any(running.needs.is_alone for running in on_machine):
            return not on_machine  # nor any whose result is on the way, which takes time of the machine
        here = [running.needs for running in on_machine if running.node.name == node.name and not running.has_left]
        if node.places is not None:
            fits = len(here) < node.places
        else:
            fits = sum(taken.cpus for taken in here) + needs.cpus <= node.cpus
        memory = sum(taken.memory_bytes for taken in here) + needs.memory_bytes
        gpus = sum(taken.gpus for taken in here) + needs.gpus
        return fits and (not node.memory_bytes or memory <= node.memory_bytes) and gpus <= node.gpus

    def _preference(self, node: Node, needs: Needs) -> tuple[bool, float, str]:
        """Prefer nodes without a GPU that is not needed, then the emptiest."""
        taken = sum(running.needs.cpus for running in self._running.values() if running.node.name == node.name)
        return node.gpus > 0 and not needs.gpus, taken / max(node.cpus, 1e-9), node.name

    def _end(self, ended: Ended) -> Event:
        running = self._running.pop(ended.name)
        waiting = running.waiting
        if ended.died and waiting.attempt <= self._retries:
            event = Event("died", ended.name, running.node, waiting.attempt, ended, ended.died)
            waiting.died_on.add(running.node.name)
            waiting.attempt += 1
            self._waiting.append(waiting)
            return event
        self._passed[ended.name] = ended.passed and not ended.died
        return Event("ended", ended.name, running.node, waiting.attempt, ended, ended.died)

    def _finish(self, waiting: _Waiting, *, passed: bool) -> None:
        self._waiting.remove(waiting)
        self._passed[waiting.task.name] = passed


def _capacity(node: Node) -> str:
    accelerators = ", ".join(sorted(node.accelerators))
    return f"{Needs(node.cpus, node.memory_bytes, node.gpus)}{f' ({accelerators})' if accelerators else ''}"
