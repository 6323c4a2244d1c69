"""The interface of a precision below float32, in which a float32 module is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

    from .arrays import Arrays


class Lower(Protocol):
    """A precision below float32, as a way to run a float32 module.

    Attributes:
        precision: Its name.
        draws: The runs whose largest error is its floor.
        io: The type of the outputs.
    """

    @property
    def precision(self) -> str: ...

    @property
    def draws(self) -> tuple[int, ...]: ...

    @property
    def io(self) -> str: ...

    def without(self, modules: Sequence[str]) -> Lower:
        """Return this precision with these modules, by path, and all inside them in float32."""
        ...

    def only(self, modules: Sequence[str]) -> Lower:
        """Return this precision in these modules' own operators alone."""
        ...

    def mode(self, module: nn.Module, path: Callable[[], str], draw: int) -> Any:
        """Return a context in which a float32 run of ``module`` loses what this precision does.

        ``path`` returns the path of the part that runs.
        """
        ...


class InGraph(ABC):
    """A precision that is measured in a graph: what it rounds has no place in a module."""

    precision: str

    @abstractmethod
    def outputs(self, feeds: Arrays, draw: int, of_module: Callable[[], Arrays]) -> Arrays:
        """Return the outputs of one run by name; ``of_module`` gives those of the module in float32."""

    def mode(self, _module: nn.Module, _path: Callable[[], str], _draw: int) -> Any:
        """Raise ValueError: the graph is run, not the module."""
        raise ValueError(f"{self.precision} is measured in the graph")
