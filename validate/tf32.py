"""The loss of tf32 by itself: PyTorch in float32, both operands of every product with eleven significant bits.

A GPU's kernels round them to nearest, or leave the digits behind out, which tensor cores do to whatever they are given.
If a normalisation is folded into a weight, the weight is rounded elsewhere: two more runs scale every operand before
it is rounded, and back. The floor is the largest of the four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.graph_io import FLOAT32
from ..core.precision import TF32
from .operator_mode import operator_mode
from .quantized import PRODUCTS

if TYPE_CHECKING:
    from torch import nn

# The indices of the operands that are multiplied; those of int8, and a vector's.
OPERANDS = {name: places[:2] for name, places in PRODUCTS.items()} | {"mv": (0, 1), "dot": (0, 1), "addmv": (1, 2)}
DROPPED_BITS = 13
NEAREST, CUT_OFF = 0, 1


@dataclass(frozen=True)
class Tf32:
    """tf32, which a builder allows for a whole network: no module can be left out."""

    precision: str = TF32
    draws: tuple[int, ...] = (NEAREST, CUT_OFF, 2, 3)
    io: str = FLOAT32

    def without(self, modules: Sequence[str]) -> Tf32:
        """Return it as it is. Raises ValueError for modules to leave out."""
        if modules:
            raise ValueError(f"tf32 holds for the whole network, not without {', '.join(modules)}")
        return self

    def only(self, modules: Sequence[str]) -> Tf32:
        """Raise ValueError: tf32 holds for the whole network."""
        raise ValueError(f"tf32 holds for the whole network, not for {', '.join(modules)} alone")

    @contextmanager
    def mode(self, _module: nn.Module, _path: Callable[[], str], draw: int) -> Iterator[None]:
        """Enter a context in which the products of a float32 run have tf32 operands."""
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        factors = torch.Generator().manual_seed(draw)

        def call(func: Any, args: Any, kwargs: Any) -> Any:
            places = OPERANDS.get(func.overloadpacket.__name__, ())
            changed = [_operand(value, draw, factors) if at in places else value for at, value in enumerate(args)]
            return func(*changed, **kwargs)

        # attention as the products that it is made of
        with sdpa_kernel(SDPBackend.MATH), operator_mode(call):
            yield


def _operand(x: Any, draw: int, factors: Any) -> Any:
    import torch

    if not isinstance(x, torch.Tensor) or x.dtype != torch.float32:
        return x
    if draw in (NEAREST, CUT_OFF):
        return _shortened(x, is_nearest=draw == NEAREST)
    factor = 1 + torch.rand((), generator=factors)
    return _shortened(x * factor, is_nearest=True) / factor


def _shortened(x: Any, *, is_nearest: bool) -> Any:
    import torch

    bits = x.contiguous().view(torch.int32)
    if is_nearest:
        bits = bits + (1 << (DROPPED_BITS - 1))
    return (bits & -(1 << DROPPED_BITS)).view(torch.float32)
