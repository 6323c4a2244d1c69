"""A worker that runs a model: arrays go in, arrays come out, and its errors and its death are errors here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

from ..core.channel import claim_stdout, failure
from ..core.worker import Worker
from .channel import packed, receive, send, unpacked
from .runtime import Arrays, Runtime

ANSWER_SECONDS = 900


class Child(Worker):
    """A worker that answers with arrays once it has loaded its model; ``load`` waits until it has.

    Args:
        module: The module of this package whose ``main`` gets ``arguments``.
        arguments: Strings.
        who: Names the process in errors.
        seconds: Time limit of every answer.
        environment: Is added to this process's own.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        who: str,
        seconds: float = ANSWER_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(module, *arguments, who=who, seconds=seconds, environment=environment)
        self._about: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Return what runs the model, in words."""
        return str(self.load()["name"])

    def load(self) -> dict[str, Any]:
        """Wait for the model; raises what the runtime raises if it does not load."""
        if self._about is None:
            self._about = self.answer("loading the model")[0]
        return self._about

    def ask(self, doing: str, header: Mapping[str, Any], arrays: Arrays | None = None) -> tuple[dict[str, Any], Arrays]:
        """Send one message and return its answer; ``doing`` names in an error what the process was at.

        Raises what the process answers with, and Interrupted if it has died or takes too long.
        """
        self.load()
        if self.how or not self.tell(header, packed(arrays)):
            raise self.gone(doing)
        return unpacked(*self.answer(doing))


def answers() -> IO[bytes]:
    """Keep the child's stdout for answers, and return it. Whatever native code prints goes to stderr from here on."""
    return os.fdopen(claim_stdout(), "wb")


def serve(runtime: Runtime, stream: IO[bytes], *, more: Mapping[str, Callable[[], Arrays]] | None = None) -> None:
    """Run, in the child, every message's arrays and answer with the outputs, until the parent closes stdin.

    A message that asks for one of ``more`` by its "do" is answered with what that returns.
    """
    calls = more or {}

    def answer(header: Mapping[str, Any], arrays: Arrays) -> tuple[Mapping[str, Any], Arrays | None]:
        call = calls.get(header.get("do", ""))
        return {}, call() if call is not None else runtime.run(arrays)

    with runtime:
        answer_each(answer, stream)


def answer_each(
    answer: Callable[[Mapping[str, Any], Arrays], tuple[Mapping[str, Any], Arrays | None]], stream: IO[bytes]
) -> None:
    """Answer, in the child, every message with what ``answer`` returns or raises, until the parent closes stdin."""
    while (message := receive(sys.stdin.buffer)) is not None:
        _answer_message(answer, message, stream)


def answer_first(answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Say, in the child, that it is there, and answer its first message with what ``answer`` returns or raises."""
    stream = answers()
    send(stream, {})
    message = receive(sys.stdin.buffer)
    if message is not None:
        _answer_message(lambda header, _arrays: (answer(header), None), message, stream)


def _answer_message(
    answer: Callable[[Mapping[str, Any], Arrays], tuple[Mapping[str, Any], Arrays | None]],
    message: tuple[dict[str, Any], Arrays],
    stream: IO[bytes],
) -> None:
    try:
        header, arrays = answer(*message)
    except Exception as error:
        send(stream, failure(error))
    else:
        send(stream, header, arrays)
