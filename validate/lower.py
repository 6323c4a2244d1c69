"""The interface of a precision below float32, in which a float32 module is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn


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
