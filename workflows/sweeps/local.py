"""This machine as the place where jobs run, in the processes of one worker."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...core.memory import machine_bytes
from ...core.schedule import Ended, Needs, Node
from ...engines.environment import ask_driver
from ...errors import Interrupted
from ..versions import package_versions
from .command_worker import CommandWorker, Ending, absolute
from .machine import machine_here
from .matrix import Job
from .orders import order_for
from .results import Results

# "NVIDIA L4", "NVIDIA A100-SXM4-40GB", "Tesla V100-SXM2-16GB": the type is the word after the maker or the line
_GPU = re.compile(r"\w+\s+(?:GeForce\s+)?([A-Z0-9]+)")


@dataclass(frozen=True)
class _Running:
    job: Job
    attempt: int
    since: float
    gpus: tuple[int, ...]


class LocalBackend:
    """Runs jobs in processes of this machine.

    Args:
        jobs: The jobs by name.
        results: The folder of the sweep.
        worker: Runs the commands; it is ended with this backend.
        places: The most jobs at a time.
    """

    def __init__(self, jobs: Mapping[str, Job], results: Results, worker: CommandWorker, places: int) -> None:
        self._jobs = jobs
        self._results = results
        self._node = this_machine(places, [job.needs for job in jobs.values()])
        self._worker = worker
        self._running: dict[str, _Running] = {}
        self._versions = package_versions()

    def nodes(self) -> list[Node]:
        """Return this machine."""
        return [self._node]

    def machines(self, _job: Job) -> Sequence[Mapping[str, Any]]:
        """Return what is known of this machine."""
        return [self._machine]

    @cached_property
    def _machine(self) -> Mapping[str, Any]:
        return machine_here()

    def start(self, name: str, _node: Node, attempt: int) -> None:
        """Start a job in its own folder."""
        job = self._jobs[name]
        folder = absolute(self._results.prepare(job))
        gpus = self._free_gpus(job.needs)
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus and self._node.gpus > 1 else {}
        cores = os.cpu_count() or 1
        threads = cores if job.needs.is_alone else max(1, cores // (self._node.places or 1))
        self._running[name] = _Running(job, attempt, time.monotonic(), gpus)
        with contextlib.suppress(Interrupted):  # `wait` finds that the worker is gone
            self._worker.run(order_for(job, self._results, folder, threads=threads, environment=environment))

    def wait(self) -> Sequence[Ended]:
        """Return the jobs that have ended since; all that run if the worker died."""
        if not self._running:
            return []
        try:
            found = self._worker.ended()
        except Interrupted as error:
            return [self._finish(name, Ending(Interrupted.exit_code, str(error))) for name in [*self._running]]
        if not found:
            lost = [name for name in self._running if not self._worker.has(name)]
            if lost:
                return [self._finish(name, Ending(Interrupted.exit_code, "its worker died")) for name in lost]
        return [self._finish(name, ending) for name, ending in found.items()]

    def stop(self) -> None:
        """End the worker and what it runs."""
        self._worker.stop()

    def _finish(self, name: str, ending: Ending) -> Ended:
        running = self._running.pop(name)
        result = self._results.finish(
            running.job,
            code=ending.code,
            died=ending.killed,
            seconds=time.monotonic() - running.since,
            node="",
            attempt=running.attempt,
            versions=self._versions,
            machine=self._machine if running.job.verb.is_on_machine else {},
        )
        return Ended(name, result.code == 0, result.died, result)

    def _free_gpus(self, needs: Needs) -> tuple[int, ...]:
        taken = {gpu for running in self._running.values() for gpu in running.gpus}
        free = [gpu for gpu in range(int(self._node.gpus)) if gpu not in taken]
        return tuple(free[: int(needs.gpus)])


def this_machine(places: int, needs: Sequence[Needs]) -> Node:
    """Return this machine as a node; its GPUs are looked for only if a job needs one."""
    devices = ask_driver().devices if any(need.gpus or need.accelerator for need in needs) else ()
    return Node(
        name="here",
        machine="here",
        cpus=os.cpu_count() or 1,
        memory_bytes=machine_bytes(),
        gpus=len(devices),
        accelerators=frozenset(filter(None, map(gpu_type, devices))),
        places=places,
        shown="this machine",
    )


def gpu_type(device: str) -> str:
    """Return the type in a GPU's name, ``L4`` of ``NVIDIA L4``, as Ray names it; empty if there is none."""
    found = _GPU.match(device)
    return found[1] if found else ""
