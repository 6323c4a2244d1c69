"""A process that has the libraries loaded and runs command lines, several at a time, in processes that it forks.

When its parent is gone, so are they.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import click

from ..core import processes
from ..core.channel import claim_stdout, failure, receive, send
from ..core.command_line import CommandLine
from ..core.idle_threads import let_threads_sleep
from ..core.nearest import nearest
from ..errors import InputError
from .commands import group
from .job import Job
from .job_process import JobProcess
from .warm import freeze


def main() -> None:
    """Answer messages until there are no more.

    ``{"check": verb, "values": options}`` gets the options as on a command line; ``{"load": true}`` has the libraries
    of an export loaded; ``{"run": order}`` starts a command; ``{"poll": seconds}`` gets those that have ended since, as
    soon as one has, or when another message comes; ``{"stop": true}`` ends the others.
    """
    for name in ("SIGINT", "SIGHUP", "SIGQUIT"):  # a terminal sends them to all: the parent decides
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    server = JobServer()
    with os.fdopen(claim_stdout(), "wb") as stream:
        server.private = stream.fileno()
        try:
            while (message := receive(sys.stdin.buffer)) is not None:
                try:
                    answer = server.answer(message[0])
                except Exception as error:
                    answer = failure(error)
                send(stream, answer)
        finally:
            server.stop()


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


@dataclass
class JobServer:
    """The processes that run commands. ``private`` is a descriptor that none of them may have."""

    processes: list[JobProcess] = field(default_factory=list)
    private: int | None = None

    def answer(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what a message asks for."""
        if "check" in message:
            return {"arguments": option_words(message["check"], message["values"])}
        if "load" in message:
            self._load()
        if "run" in message:
            self._run(message["run"])
        if "poll" in message:
            return {"ended": self._ended(message["poll"])}
        if "stop" in message:
            self.stop()
        return {"done": [*message]}

    def _load(self) -> None:
        """Load the libraries of an export. Processes without them are of no more use."""
        from ..modules.packages import load
        from ..workflows.reuse import sources

        let_threads_sleep()
        load()
        sources()  # known to every child then
        freeze()
        self._end([process for process in self.processes if process.job is None])

    def _run(self, order: Mapping[str, Any]) -> None:
        job = Job(order["name"], Path(order["folder"]))
        job.prepare()
        free = [process for process in self.processes if process.is_free]
        if order["is_alone"]:
            for process in free:
                process.rest()
        if not free:
            free = [JobProcess(_run_command, in_child=self._forget_parent)]
            self.processes += free
        free[0].start(job, order)

    def _forget_parent(self) -> None:
        """Leave a process that is forked nothing of the pipes: they end with this one."""
        for process in self.processes:
            process.close()
        if self.private is not None:
            os.close(self.private)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    def _ended(self, seconds: float) -> dict[str, dict[str, Any]]:
        select.select([sys.stdin, *(process for process in self.processes if process.job)], [], [], seconds)
        jobs = [job for process in self.processes if (job := process.take()) is not None]
        return {job.name: {"code": job.code, "killed": job.killed} for job in jobs}

    def stop(self) -> None:
        """Ask every process to end and to clean up, and wait for it."""
        self._end([*self.processes])

    def _end(self, processes: list[JobProcess]) -> None:
        for process in processes:
            process.ask_to_end()
        for process in processes:
            process.wait()
            self.processes.remove(process)


def _run_command(arguments: list[str], shown: CommandLine) -> NoReturn:
    group.main(arguments, prog_name="attn2trt", obj=shown)


def option_words(verb: str, values: Mapping[str, Any]) -> list[str]:
    """Return options as on a command line; InputError for one that the command does not have or would not take."""
    context = click.Context(group)
    command = group.get_command(context, verb)
    assert command is not None
    options = {
        name.removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    }
    words: list[str] = []
    for name, value in values.items():
        if name not in options:
            hint = nearest(name, options, f"attn2trt {verb} --help lists them")
            raise InputError(f"{name}; expected an option of attn2trt {verb}; {hint}")
        words += _words(name, value, options[name])
    _parse(command, verb, words)
    return words


def _words(name: str, value: Any, option: click.Option) -> list[str]:
    if option.is_flag:
        if not isinstance(value, bool):
            raise InputError(f"{name} = {value!r}; expected true or false; correct it")
        return [f"--{name}"] if value else []
    entries = value if isinstance(value, list) else [value]
    if any(isinstance(entry, bool) for entry in entries):
        raise InputError(f"{name} = {value!r}; expected a value, as on the command line; correct it")
    if len(entries) > 1 and not option.multiple:
        raise InputError(f"{name} = {value!r}; expected one value; for several, give one set of [[options]] each")
    return [f"--{name}={entry}" for entry in entries]


def _parse(command: click.Command, verb: str, words: list[str]) -> None:
    """Have click convert the values; InputError for one that it refuses. The command's own argument may be anything."""
    limit = processes.stage_seconds()
    try:
        with command.make_context(verb, [*words, "--", "any"], parent=click.Context(group)):
            pass
    except click.UsageError as error:
        raise InputError(f"{error.format_message().rstrip('.')}; attn2trt {verb} --help says what it takes") from error
    finally:
        processes.note(seconds=limit)
