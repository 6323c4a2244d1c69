"""The trap, a construction that may export wrongly, and the list of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CHANNELS = 8
SHAPE = (2, CHANNELS, 12, 16)
# Odd ends and a non-square optimum: nothing fits by chance.
ANY = "batch=1:2:4,height=6:12:30,width=7:16:33"
# For modules that PyTorch itself only runs if a window divides the image.
FOURS = "batch=1:2:4,height=4:12:30,width=8:16:33"


@dataclass(frozen=True)
class Trap:
    """One module, what it is traced with, and in ``what`` the mistake that waits in it.

    ``needs`` names the axes that the module's own code fixes, so that a refusal is the right answer.
    """

    name: str
    what: str
    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    dynamic: str
    theme: str
    needs: str = ""

    def build(self) -> nn.Module:
        """The module, its weights drawn from seed 0, in eval mode."""
        torch.manual_seed(0)
        return self.make().eval()

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of the traced sizes."""
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(shape, generator=generator) for shape in self.shapes)


TRAPS: dict[str, Trap] = {}


def trap(
    what: str, *shapes: tuple[int, ...], dynamic: str = ANY, needs: str = ""
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Add the decorated module class, built without arguments, to ``TRAPS``."""

    def add(kind: type[nn.Module]) -> type[nn.Module]:
        theme = kind.__module__.rpartition(".")[2]
        TRAPS[kind.__name__] = Trap(kind.__name__, what, kind, shapes or (SHAPE,), dynamic, theme, needs)
        return kind

    return add
