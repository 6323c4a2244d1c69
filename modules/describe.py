"""The description of a TARGET: its cost beside the plain backbone's, its blocks' places, the shapes inside a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.tensor_spec import Axis, TensorSpec, optima
from ..errors import SizesRefused
from . import catalog
from .block_index import BlockInfo, Option, block_info, block_names
from .grammar import Part
from .packages import PYTORCH, require
from .paper_places import places

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .metering import Cost, Step


@dataclass(frozen=True)
class PlacedBlock:
    """A block in a backbone, with the shape of what it is given and its own cost."""

    path: str
    block: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class BlockText:
    """The facts in a block's file; ``axes`` may be dynamic, ``places`` are by family of backbones."""

    name: str
    summary: str
    paper: str
    options: tuple[Option, ...]
    axes: tuple[str, ...]
    places: Mapping[str, str]


@dataclass(frozen=True)
class Description:
    """All for one image of the traced size, or for the traced batch of a module that takes no other.

    ``metered`` are the sizes of its inputs. ``plain`` is the backbone without its blocks; ``steps`` are the operators
    of a block that stands alone.
    """

    name: str
    kind: str
    source: str
    paper: str
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis]
    cost: Cost
    metered: tuple[tuple[int, ...], ...]
    blocks: tuple[BlockText, ...] = ()
    plain: Cost | None = None
    places: tuple[PlacedBlock, ...] = ()
    steps: tuple[Step, ...] = ()


def describe(spec: str, *, shapes: Sequence[str] = (), dynamic: str | None = None, trust: bool = False) -> Description:
    """Describe a TARGET; arguments and errors are those of ``catalog.resolve`` and its ``build``."""
    require(PYTORCH)
    from .metering import meter, parameters

    found = catalog.read(spec, shapes=shapes, dynamic=dynamic, trust=trust)
    module, added = found.recipe.structure(found.inputs, found.axes)
    example = traced(found)
    try:
        metered = meter(module, one := _one_image(found, example))
        example = one
    except SizesRefused:  # a batch that is a number in the module, as in a program that was exported for it
        metered = meter(module, example)
    places = tuple(
        PlacedBlock(path, block_name(part), metered.given.get(path, ()), parameters(part), metered.macs.get(path, 0))
        for path, part in module.named_modules()
        if any(part is block for block in added)
    )
    parsed = found.parsed
    infos = [block_info(part.name) for part in parsed.insertions if not part.is_user_code]
    plain = None
    if parsed.insertions:
        bare = catalog.read(parsed.base.without_places, shapes=shapes, dynamic=dynamic, trust=trust)
        plain = meter(bare.recipe.structure(bare.inputs, bare.axes)[0], example).cost
    is_block = parsed.base.name in block_names()
    if is_block:
        infos = [block_info(parsed.base.name)]
    return Description(
        name=spec,
        kind=_kind(parsed.base, is_block=is_block),
        source=str(found.facts.get("source", "")),
        paper=str(found.facts.get("paper", "")),
        inputs=found.inputs,
        axes=found.axes,
        cost=metered.cost,
        metered=tuple(tuple(given.shape) for given in example),
        blocks=tuple(_text(info) for info in dict.fromkeys(infos)),
        plain=plain,
        places=places,
        steps=metered.steps if is_block else (),
    )


def _kind(base: Part, *, is_block: bool) -> str:
    if is_block:
        return "block"
    return "module" if base.is_user_code else "model" if base.library else "backbone"


def _text(info: BlockInfo) -> BlockText:
    where = places(info.name, replaces_conv3x3=info.replaces_conv3x3).by_family
    return BlockText(info.name, info.summary, info.paper, info.options, info.axes, where)


def traced(found: catalog.ReadTarget) -> list[Tensor]:
    """Return the traced inputs without values."""
    import torch

    sizes: dict[str, Any] = optima(found.axes)
    return [torch.empty(spec.resolve(sizes), dtype=getattr(torch, spec.dtype), device="meta") for spec in found.inputs]


def _one_image(found: catalog.ReadTarget, traced: Sequence[Tensor]) -> list[Tensor]:
    """Return the inputs with one image in place of a batch, or with one row of what a library's model takes."""
    is_batch = bool(found.parsed.base.library)
    return [given.new_empty(1, *given.shape[1:]) if is_batch or given.ndim == 4 else given for given in traced]


def block_name(block: nn.Module) -> str:
    """A catalog block's own name, the class's for a user's."""
    package, _, name = type(block).__module__.rpartition(".")
    return name if package == f"{__package__}.blocks" else type(block).__name__
