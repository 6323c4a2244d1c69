"""What 8-bit integers lose by themselves: PyTorch in float32, both operands of every quantised product on its levels.

The steps of what a product reads are those of the graph; a weight's are its own, one for each output channel. A batch
normalisation that the graph folds into a weight scales whole output channels, and with them their steps: the levels are
the same. A product is found by its weight, a parameter of the module; one whose weight is computed by the module that
runs it. Where one weight or module has several products, they come in the order of the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ModuleRefused
from .last_digits import LastDigits

if TYPE_CHECKING:
    from torch import nn

LOWEST, HIGHEST = -128, 127
# Where in an operator's operands is what it reads, where its weight, and along which axis are the output channels.
PRODUCTS = {
    **{"convolution": (0, 1, 0), "linear": (0, 1, 0)},
    **{"addmm": (1, 2, 1), "mm": (0, 1, 1), "matmul": (0, 1, 1)},
    # a linear layer on maps that are no matrix in memory: its weight is repeated for each
    **{"bmm": (0, 1, 2), "baddbmm": (1, 2, 2)},
}


@dataclass(frozen=True)
class Int8:
    """``steps`` of the products of every weight or module, by its name; None for a product that stays in float32."""

    steps: Mapping[str, tuple[float | None, ...]]
    precision: str = "int8"
    draws: tuple[int, ...] = (0, 1)

    @contextmanager
    def mode(self, module: nn.Module, path: Callable[[], str], draw: int) -> Iterator[None]:
        """In this context a float32 run of ``module`` has the products of a run with integers; ``path`` gives the part
        that runs.

        ``draw`` 0 has PyTorch's own last digits, any other moves them: near the middle between two levels they decide.
        Raises ModuleRefused where a quantised product of the graph was not met.
        """
        from torch.utils._python_dispatch import TorchDispatchMode

        digits = LastDigits(draw) if draw else None
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        met: Counter[str] = Counter()

        def next_step(weight: Any) -> float | None:
            name = names.get(id(weight)) or names.get(id(weight._base)) or ""
            where = name if name in self.steps else path()
            found = self.steps.get(where, ())
            met[where] += 1
            return found[met[where] - 1] if met[where] <= len(found) else None

        class Integers(TorchDispatchMode):  # type: ignore[no-untyped-call]
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                name = func.overloadpacket.__name__
                if name in PRODUCTS:
                    step = next_step(args[PRODUCTS[name][1]])
                    if step is not None:
                        args = _on_levels(args, PRODUCTS[name], step)
                result = func(*args, **(kwargs or {}))
                return result if digits is None else digits.move(func, result)

        with Integers():  # type: ignore[no-untyped-call]
            yield
        for name, steps in self.steps.items():
            if any(step is not None for step in steps[met[name] :]):
                raise ModuleRefused(
                    f"the quantised products of {name or 'the module itself'} run {len(steps)} times in the graph and "
                    f"{met[name]} times in PyTorch, so that what int8 loses there is not known; keep them in float32 "
                    "with --keep-fp32"
                )


def _on_levels(args: Any, places: tuple[int, int, int], step: float) -> Any:
    at, weight_at, axis = places
    weight = args[weight_at]
    others = [other for other in range(weight.dim()) if other != axis]
    largest = weight.abs().amax(others, keepdim=True)
    changed = list(args)
    changed[at] = _rounded(args[at], step)
    # a channel of zeros has no step, and none is needed
    changed[weight_at] = _rounded(weight, (largest / HIGHEST).where(largest > 0, 1.0))
    return tuple(changed)


def _rounded(x: Any, step: Any) -> Any:
    return (x / step).round().clamp(LOWEST, HIGHEST) * step
