"""The processes that do the steps, one each: started, stopped for a while, ended with all that they have started."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from attn2trt.core.processes import ending
from attn2trt.errors import InputError

from .work import Pool, Step

# In the environment of every process of a run, so that the next run can tell what was left behind.
MARK = "ATTN2TRT_GPU_CHECK"
LOGS = "logs"
MOST_SAID = 2000
LEFTOVER_SECONDS = 10.0  # for a killed process to be gone


@dataclass(frozen=True)
class Ended:
    """A step whose process has ended; ``how`` says in words how, with the last line of its output."""

    step: Step
    code: int
    how: str


class Processes:
    """The running steps. ``command`` and ``environment`` are those of a step; its output goes to a log in ``folder``.

    Use it in a ``with`` statement: leaving kills what still runs.
    """

    def __init__(
        self,
        folder: Path,
        command: Callable[[Step], Sequence[str]],
        environment: Callable[[Step], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self._folder = folder.resolve()
        self._command = command
        self._environment = environment
        self._running: dict[str, tuple[Step, subprocess.Popen[bytes], IO[bytes]]] = {}
        self._stopped: set[Pool] = set()

    def __enter__(self) -> Processes:
        (self._folder / LOGS).mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def __bool__(self) -> bool:
        return bool(self._running)

    @property
    def running(self) -> list[Step]:
        """The steps that have not ended, as far as that was asked."""
        return [step for step, _, _ in self._running.values()]

    def start(self, step: Step) -> None:
        """Start the step in a session of its own, so that whatever it starts can be ended with it."""
        log = log_path(self._folder, step).open("wb")
        process = subprocess.Popen(
            self._command(step),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._environment(step), MARK: str(self._folder)},
            start_new_session=True,
        )
        self._running[step.name] = (step, process, log)

    def ended(self) -> list[Ended]:
        """The steps that have ended since this was asked last."""
        found = []
        for name, (step, process, log) in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            log.close()
            del self._running[name]
            _signal_group(process.pid, signal.SIGKILL)  # what it has left behind
            said = log_path(self._folder, step).read_bytes()[-MOST_SAID:].decode(errors="replace")
            found.append(Ended(step, code, ending(code, said)))
        return found

    def hold(self, pool: Pool) -> None:
        """Stop the steps of the pool that are running now, until ``go_on``."""
        self._signal(pool, signal.SIGSTOP)
        self._stopped.add(pool)

    def go_on(self, pool: Pool) -> None:
        """Let the steps of the pool continue."""
        if pool in self._stopped:
            self._signal(pool, signal.SIGCONT)
        self._stopped.discard(pool)

    def kill(self) -> list[Step]:
        """End every step with all its processes; returns those that were running."""
        killed = []
        for step, process, log in self._running.values():
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
            log.close()
            killed.append(step)
        self._running.clear()
        return killed

    def _signal(self, pool: Pool, number: signal.Signals) -> None:
        for step, process, _ in self._running.values():
            if step.pool == pool:
                _signal_group(process.pid, number)


def log_path(folder: Path, step: Step) -> Path:
    """The output of the step's processes."""
    return folder / LOGS / f"{step.name}.log"


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder against a second run, and end what a killed one has left behind in it.

    Raises InputError if another run is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"received {folder}, in which another run is at work; expected a folder of this one's own; wait for it"
            ) from None
        _end_leftovers(folder.resolve())
        yield


def _end_leftovers(folder: Path) -> None:
    """Kill the processes that a run in this folder has started and did not live to end, and wait until they are gone.

    What still holds the GPU's memory would take part in what is timed next.
    """
    until = time.monotonic() + LEFTOVER_SECONDS
    while (left := _marked(f"{MARK}={folder}".encode())) and time.monotonic() < until:
        for number in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.01)


def _marked(mark: bytes) -> list[int]:
    """Return the numbers of the other processes that have it in their environment; one that has ended has none."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        number = int(environment.parent.name)
        with contextlib.suppress(OSError):  # another user's, or it has ended
            if number != os.getpid() and mark in environment.read_bytes().split(b"\0"):
                found.append(number)
    return found


def python_of(path: str | None, *, must_be_there: bool = True) -> str:
    """The Python interpreter at ``path``; without a path this one. Raises InputError if there is none and must be."""
    if path is None:
        return sys.executable
    if must_be_there and (not os.access(path, os.X_OK) or Path(path).is_dir()):
        raise InputError(
            f"received --python-trt {path}; expected the path of a Python interpreter; correct it, or --wait for it"
        )
    return str(Path(path).absolute())
