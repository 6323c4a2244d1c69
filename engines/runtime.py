"""The interface of every runtime: entered with ``with``, fed arrays by name, answering with arrays by name."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]


class Runtime(Protocol):
    """A loaded model. ``name`` says in words what runs it, with the provider."""

    name: str

    def __enter__(self) -> Runtime: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, feeds: Arrays) -> Arrays:
        """Raise InputError if the feeds do not fit the model's inputs."""
        ...
