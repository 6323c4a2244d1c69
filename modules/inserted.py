"""The blocks in a backbone: their places, their inputs, and each of them as a target of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import catalog
from .describe import block_name, traced
from .own_module import from_module
from .target import Target

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Inserted:
    """Blocks of one kind that are given one shape: ``(n, c, h, w)``, and the module paths of all of them.

    ``kind`` is the name of the block. Two blocks of one kind that differ in a width or an option are two of these.
    """

    kind: str
    shape: tuple[int, ...]
    paths: tuple[str, ...]

    @property
    def title(self) -> str:
        """Kind and shape in one word."""
        return f"{self.kind} {'x'.join(map(str, self.shape))}"


def inserted(found: catalog.ReadTarget) -> list[Inserted]:
    """The blocks that ``found`` puts into its backbone, in the order in which they stand there.

    A block that does not run, or is given no ``(n, c, h, w)``, is left out.
    """
    from .metering import meter

    module, added = found.recipe.structure(found.inputs, found.axes)
    places = {path: part for path, part in module.named_modules() if any(part is block for block in added)}
    # before the metering takes the weights
    alike = {path: _structure(part) for path, part in places.items()}
    given = meter(module, traced(found)).given
    groups: dict[tuple[str, tuple[int, ...], object], list[str]] = {}
    for path, part in places.items():
        if len(shape := given.get(path, ())) == 4:
            groups.setdefault((block_name(part), shape, alike[path]), []).append(path)
    return [Inserted(kind, shape, tuple(paths)) for (kind, shape, _), paths in groups.items()]


def alone(module: nn.Module, block: Inserted) -> tuple[Target, nn.Module]:
    """The first of these blocks, with its weights in ``module``, as a target at the size that it is given there."""
    import torch

    part = module.get_submodule(block.paths[0])
    target = from_module(part, [torch.zeros(block.shape)], name=block.title, input_names=["x"])
    return target, target.build()


def in_place_of(plain: nn.Module, block: Inserted) -> str:
    """Return the class that the plain backbone has at the block's place; "" if it has nothing there."""
    from torch import nn

    there = dict(plain.named_modules()).get(block.paths[0])
    return "" if there is None or isinstance(there, nn.Identity) else type(there).__name__


def _structure(block: nn.Module) -> tuple[str, tuple[tuple[str, tuple[int, ...]], ...]]:
    """Return what two blocks of equal latency share: modules, options that they print, and sizes."""
    return repr(block), tuple((name, tuple(value.shape)) for name, value in block.state_dict().items())
