"""A timed run: models in processes of their own are loaded, compared, warmed up, and timed in turn.

The order is the caller's: ``load``, ``each`` with a comparison of its own, ``warm_up``, ``time``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

from ...core.tensor_spec import TensorSpec
from ...errors import Attn2trtError, CheckFailed
from . import machine
from .core_latency import CoreWatch
from .inputs import input_bytes, set_count
from .method import Limits, Method
from .rounds import Samples, Timed, interleave
from .runners import Runner
from .timed_process import TimedProcess

Key = TypeVar("Key", bound=Hashable)


class Cell(NamedTuple):
    """The key of a process in a run that does several things: what is done there, and the name of its model."""

    part: str
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Entry:
    """A model of a run.

    Attributes:
        runner: Loads it.
        inputs: The model's inputs.
        sizes: The size of every dynamic axis.
        sets: The number of different inputs that rotate.
        warm_up_seconds: The time of its warm-up; None for no warm-up at all.
        limits: Those of its turns on rotated inputs, in place of the method's; it then has no turns on one input.
        on_device: Time it by the GPU's own clock in place of the host's.
    """

    runner: Runner
    inputs: tuple[TensorSpec, ...]
    sizes: Mapping[str, int]
    sets: int
    warm_up_seconds: float | None
    limits: Limits | None = None
    on_device: bool = False


def rotated_sets(inputs: tuple[TensorSpec, ...], sizes: Mapping[str, int], cache_bytes: int) -> int:
    """Return the number of sets of inputs that fill a cache of so many bytes twice, within the limits of inputs.py."""
    return set_count(input_bytes(inputs, sizes), cache_bytes)


class MachineWatch:
    """The machine's counters from now on, less the processor time of this process and of the processes of a run."""

    def __init__(self, cores: CoreWatch | None = None) -> None:
        self.cores = cores if cores is not None else CoreWatch()
        self._watch = machine.Watch()
        self._own_since = time.process_time()
        self._of_processes = 0.0

    def add(self, cpu_seconds: float) -> None:
        """Count processor time of processes that were measured."""
        self._of_processes += cpu_seconds

    def conditions(self) -> machine.Conditions:
        """Return the conditions since the watch was made."""
        own = time.process_time() - self._own_since
        return self._watch.conditions(self._of_processes + own, self.cores.distance())


class TimedRun(Generic[Key]):
    """The processes of a run. They start, and load their models, when it is entered.

    Attributes:
        processes: Those that have not failed yet, by the key of their entry.
        watch: The machine while the run is timed.

    Args:
        entries: The models, in the order of the first round. The text of a key names a model in errors.
        method: The rules.
        threads: The threads of each process.
        on_failure: Called with the key and the reason when a process breaks; the run goes on without it. Without
            ``on_failure`` the error ends the run.
        watch: Watches several runs together, from their processes' start; by default the run has one of its own, from
            the start of the timing.
    """

    def __init__(
        self,
        entries: Mapping[Key, Entry],
        method: Method,
        *,
        threads: int,
        on_failure: Callable[[Key, str], object] | None = None,
        watch: MachineWatch | None = None,
    ) -> None:
        self._entries, self._method, self._threads = entries, method, threads
        self._on_failure, self._shared_watch = on_failure, watch
        self.processes: dict[Key, TimedProcess] = {}

    def __enter__(self) -> TimedRun[Key]:
        with ExitStack() as stack:
            for key, entry in self._entries.items():
                self.processes[key] = stack.enter_context(TimedProcess(entry.runner, threads=self._threads))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def drop(self, key: Key) -> None:
        """Leave a process out from here on."""
        del self.processes[key]

    def each(self, step: Callable[[Key, TimedProcess], object]) -> None:
        """Call ``step`` with every process; one that raises one of our errors has failed."""
        for key, process in list(self.processes.items()):
            try:
                step(key, process)
            except Attn2trtError as error:
                if self._on_failure is None:
                    raise
                self._fail(key, str(error))

    def load(self) -> dict[Key, str]:
        """Wait until the models are loaded; returns the runtime of each in words, with its version."""
        names: dict[Key, str] = {}
        self.each(lambda key, process: names.setdefault(key, process.name))
        return names

    def warm_up(self, jobs: int = 1) -> None:
        """Make the inputs of ``jobs`` processes at once, then call each model by itself for the time of its entry."""
        with ThreadPoolExecutor(jobs) as pool:
            made = {key: pool.submit(_prepare, self._entries[key], process) for key, process in self.processes.items()}
        self.each(lambda key, process: _warm(self._entries[key], process, made[key]))

    def time(self, cores: CoreWatch | None = None) -> tuple[dict[Key, Samples], MachineWatch]:
        """Time all processes in turn.

        Args:
            cores: Measures the distance of the cores, if the run has a watch of its own.

        Returns:
            The samples of every process that did not fail, and the watch, whose ``conditions`` are those of the run.

        Raises:
            CheckFailed: A process broke, and there is no ``on_failure``.
        """
        watch, since = self._shared_watch, dict[Key, float]()
        if watch is None:
            since = {key: _cpu_seconds(process) for key, process in self.processes.items()}
            watch = MachineWatch(cores)
        timed: dict[Key, Timed] = {key: _turns(self._entries[key], process) for key, process in self.processes.items()}
        samples, failed = interleave(timed, self._method, cores=watch.cores)
        for key, why in failed.items():
            if self._on_failure is None:
                raise CheckFailed(f"{key}: {why}; run the command again, with smaller sizes if memory ran out")
            self._fail(key, why)
        watch.add(sum(_cpu_seconds(self.processes[key]) - since.get(key, 0.0) for key in samples))
        return samples, watch

    def _fail(self, key: Key, why: str) -> None:
        assert self._on_failure is not None
        self._on_failure(key, why)
        self.drop(key)


@dataclass(frozen=True)
class _OnDevice:
    """A process whose turns are timed by the GPU's own clock."""

    process: TimedProcess

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        return self.process.device_turn(limits, hot=hot)


@dataclass(frozen=True)
class _Part:
    """A model with turns of its own limits, on inputs that rotate alone."""

    timed: Timed
    limits: Limits

    def turn(self, limits: Limits, *, hot: bool) -> list[int]:
        return [] if hot else self.timed.turn(self.limits, hot=False)


def _turns(entry: Entry, process: TimedProcess) -> Timed:
    timed = _OnDevice(process) if entry.on_device else process
    return timed if entry.limits is None else _Part(timed, entry.limits)


def _prepare(entry: Entry, process: TimedProcess) -> None:
    process.prepare(entry.inputs, entry.sizes, sets=entry.sets)


def _warm(entry: Entry, process: TimedProcess, prepared: Future[None]) -> None:
    prepared.result()
    if entry.warm_up_seconds is not None:
        process.warm_up(entry.warm_up_seconds)


def _cpu_seconds(process: TimedProcess) -> float:
    """Return the processor time that it has used until now; 0 if it is gone, which its next turn reports."""
    try:
        return process.cpu_seconds()
    except Attn2trtError:
        return 0.0
