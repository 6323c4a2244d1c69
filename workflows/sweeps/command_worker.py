"""A worker process that runs command lines of attn2trt, several at a time, in processes that it forks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.plain_data import plain
from ...core.worker import Worker
from ...errors import InputError, Interrupted

# The command line is the interface that jobs use, as any other program would: this process imports nothing of it.
MODULE = "cli.job_child"
ANSWER_SECONDS = 900.0  # of loading PyTorch from a slow disk
STOP_SECONDS = 15.0
POLL_SECONDS = 0.5  # how long the worker waits for a command to end before it answers
WHO = "the process that runs jobs"


@dataclass(frozen=True)
class CommandOrder:
    """One command to run.

    Attributes:
        name: Names it.
        folder: An absolute path; stdout and stderr go to files there.
        shown_folder: The folder that its files will be in, as the user writes it.
        arguments: The command line, without the program.
        shown: The command line that the result says it was made by.
        needs_torch: Have PyTorch loaded before.
        threads: The threads of PyTorch; 0 leaves that to it.
        environment: Is added to the process's own.
        cwd: The folder that relative paths in the arguments begin at.
        may_share: It may run in the process of an earlier command that may share its own as well.
        is_alone: No process of an earlier command may be left when it starts.
    """

    name: str
    folder: str
    shown_folder: str
    arguments: Sequence[str]
    shown: Sequence[str]
    needs_torch: bool
    threads: int
    environment: Mapping[str, str]
    cwd: str
    may_share: bool
    is_alone: bool

    def to_json(self) -> dict[str, Any]:
        """Return every field by name, as plain data."""
        found: dict[str, Any] = plain(self)
        return found


@dataclass(frozen=True)
class Ending:
    """The end of a command: its exit code, and the reason if somebody else killed it."""

    code: int
    killed: str


class CommandWorker:
    """A worker that is started when it is first needed, and again after it died. Used in a ``with`` statement."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._has_torch = False
        self._names: set[str] = set()

    def __enter__(self) -> CommandWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, order: CommandOrder) -> None:
        """Start a command. Raises Interrupted if the worker died."""
        if order.needs_torch and not self._has_torch:
            self._ask({"load": True}, "loading PyTorch")
            self._has_torch = True
        self._names.add(order.name)  # before the answer, which an interrupt may keep from coming
        self._ask({"run": order.to_json()}, f"starting {order.name}")

    def has(self, name: str) -> bool:
        """Return True if the worker that is there now runs a command of that name."""
        return name in self._names

    def ended(self) -> dict[str, Ending]:
        """Return the commands that have ended since, by name, after a moment if none has.

        Raises Interrupted if the worker died.
        """
        found = self._ask({"poll": POLL_SECONDS}, "running jobs")
        self._names -= {*found["ended"]}
        return {name: Ending(**ending) for name, ending in found["ended"].items()}

    def arguments(self, verb: str, values: Mapping[str, Any]) -> list[str]:
        """Return options of a command as on a command line; InputError if the command would not take one."""
        return [
            str(word) for word in self._ask({"check": verb, "values": dict(values)}, "reading options")["arguments"]
        ]

    def stop(self) -> None:
        """End the worker and every command that it runs; those have some seconds to clean up."""
        if self._worker is None:
            return
        worker, self._worker, self._has_torch = self._worker, None, False
        with worker, contextlib.suppress(Interrupted):
            if not self._names:  # nothing cleans up, and the worker may be loading PyTorch
                return
            worker.seconds = STOP_SECONDS
            worker.tell({"stop": True})
            while "stop" not in worker.answer("ending jobs")[0].get("done", ()):
                pass  # the answer to what was asked before this call was interrupted

    def _ask(self, message: Mapping[str, Any], doing: str) -> dict[str, Any]:
        if self._worker is None:
            self._worker = Worker(MODULE, who=WHO, seconds=ANSWER_SECONDS)
        self._worker.tell(message)
        try:
            return self._worker.answer(doing)[0]
        except Interrupted:
            with self._worker:
                self._worker, self._has_torch = None, False
                self._names.clear()
            raise


def located(error: InputError, source: str, where: str) -> InputError:
    """Return the error of an option with the place in the file that it comes from."""
    return InputError(f"received, under {where} in {source}, {error}")


def absolute(folder: Path) -> str:
    """Return the path of a folder from the root of the file system."""
    return str(Path.cwd() / folder)
