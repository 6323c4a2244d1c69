"""A process that has the libraries loaded and forks a child for each command line that it is given.

It answers at once, whatever its children do: who asks polls. When its parent is gone, so are its children.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import click

from ..core import processes
from ..core.channel import claim_stdout, failure, receive, send
from ..core.command_line import CommandLine
from ..core.fork import Fork
from ..errors import InputError
from .commands import group
from .job import Job, use_threads
from .warm import freeze, report_modules, take_modules


def main() -> None:
    """Answer messages until there are no more.

    ``{"check": verb, "values": options}`` gets the options as on a command line; ``{"load": true}`` has the libraries
    of an export loaded; ``{"run": order}`` starts a command; ``{"poll": true}`` gets those that have ended since;
    ``{"stop": true}`` ends the others.
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
    """The commands that run, by their names. ``private`` is a descriptor that no child may have."""

    running: dict[str, tuple[Job, Fork]] = field(default_factory=dict)
    private: int | None = None

    def answer(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what a message asks for."""
        if "check" in message:
            return {"arguments": option_words(message["check"], message["values"])}
        if "load" in message:
            from ..modules.packages import load
            from ..workflows.reuse import sources

            load()
            sources()  # known to every child then
            freeze()
        if "run" in message:
            self._run(message["run"])
        if "stop" in message:
            self.stop()
        return {"ended": self._ended()} if "poll" in message else {}

    def _run(self, order: Mapping[str, Any]) -> None:
        job = Job(order["name"], Path(order["folder"]))
        job.prepare()
        shown = CommandLine(order["shown"])

        def run() -> NoReturn:
            os.chdir(order["cwd"])
            os.environ.update(order["environment"])
            if order["threads"]:
                use_threads(order["threads"])
            sys.argv = ["attn2trt", *order["arguments"]]
            report_modules(lambda: group.main(order["arguments"], prog_name="attn2trt", obj=shown), job.folder)

        self.running[job.name] = (job, job.start(run, in_child=self._forget_parent))

    def _forget_parent(self) -> None:
        """Leave a child nothing of the pipes: they end with this process."""
        if self.private is not None:
            os.close(self.private)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    def _ended(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name, (job, child) in list(self.running.items()):
            code = child.poll()
            if code is not None:
                job.end(code)
                take_modules(job.folder)
                del self.running[name]
                found[name] = {"code": job.code, "killed": job.killed}
        return found

    def stop(self) -> None:
        """Ask every child to end and to clean up, and wait for it; its guard bounds that time."""
        for _, child in self.running.values():
            child.kill(signal.SIGTERM)
        for _, child in self.running.values():
            child.wait()
        self.running.clear()


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
            found = get_close_matches(name, options, n=1)
            hint = f" (nearest: {found[0]})" if found else ""
            raise InputError(f"{name}; expected an option of attn2trt {verb}{hint}; attn2trt {verb} --help lists them")
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
