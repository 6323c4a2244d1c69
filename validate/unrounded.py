"""The loss of a module's own 8-bit levels: PyTorch in float32, its quantisers keeping the fractions between levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.graph_io import FLOAT32
from ..core.precision import INT8
from ..modules.quantisers import quantiser
from .last_digits import last_digits_mode

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Unrounded:
    """The floor of a graph whose levels are those of the module it was made of.

    Beside the module in float64, with its levels, stands one whose numbers lie between them: that is as far as rounding
    can be felt. Runs in float32 with other last digits are others where a rounding tips a number to the next level.
    """

    precision: str = INT8
    draws: tuple[int, ...] = (0, 1, 2)
    io: str = FLOAT32

    def without(self, modules: Sequence[str]) -> Unrounded:
        """Return it as it is: the levels are the module's own, and none can be left out."""
        return self

    def only(self, modules: Sequence[str]) -> Unrounded:
        """Return it as it is, for the reason of ``without``."""
        return self

    def mode(self, module: nn.Module, path: Callable[[], str], draw: int) -> Any:
        """A context in which a float32 run keeps the fractions; with a ``draw``, rounds and has other last digits."""
        return last_digits_mode(draw) if draw else _fractions_mode()


def _fractions_mode() -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Fractions(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = quantiser(func, args, kwargs or {})
            if found is None or found.is_pass:
                return func(*args, **(kwargs or {}))
            return found.fractions()

    return Fractions()  # type: ignore[no-untyped-call]
