"""The loss of a module's own 8-bit levels: PyTorch in float32, its quantisers keeping the fractions between levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.graph_io import FLOAT32
from ..core.precision import INT8
from ..modules.quantisers import quantiser
from .half_precision import Half
from .last_digits import last_digits_mode
from .operator_mode import operator_mode

if TYPE_CHECKING:
    from torch import nn

    from .lower import Lower


@dataclass(frozen=True)
class Unrounded:
    """The floor of a graph whose levels are those of the module it was made of.

    Beside the module in float64, with its levels, stands one whose numbers lie between them: that is as far as rounding
    can be felt. Runs in float32 with other last digits are others where a rounding tips a number to the next level;
    those in half precision are so more often.

    Attributes:
        precision: Its name.
        half: The half precision between the levels; None for float32.
        draws: The runs whose largest error is the floor.
        io: The type of the outputs.
    """

    precision: str = INT8
    half: Half | None = None
    draws: tuple[int, ...] = (0, 1, 2)
    io: str = FLOAT32

    def without(self, modules: Sequence[str]) -> Lower:
        """Return what the half precision alone loses, these modules, by path, and all inside them in float32.

        The levels are the module's own, and none can be left out.
        """
        return self if self.half is None else self.half.without(modules)

    def only(self, modules: Sequence[str]) -> Lower:
        """Return what the half precision alone loses in these modules' own operators."""
        return self if self.half is None else self.half.only(modules)

    def mode(self, module: nn.Module, path: Callable[[], str], draw: int) -> Any:
        """A context in which a float32 run keeps the fractions; with a ``draw``, rounds and has other last digits, or
        half precision."""
        if not draw:
            return operator_mode(_fractions)
        return last_digits_mode(draw) if self.half is None else self.half.mode(module, path, draw)


def _fractions(func: Any, args: Any, kwargs: Any) -> Any:
    """Return what an operator gives, of a quantiser the fractions in place of levels."""
    found = quantiser(func, args, kwargs)
    return func(*args, **kwargs) if found is None or found.is_pass else found.fractions()
