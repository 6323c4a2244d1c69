"""The entries of ``attn2trt list``: blocks, backbones and libraries, with what they cost and where they belong."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import MissingRequirement
from .backbones.known import KNOWN
from .block_index import ALL_AXES, BlockInfo, OptionValue, block_info, block_names
from .catalog import default_sizes
from .libraries import index as libraries
from .packages import PYTORCH, require
from .paper_places import places

KINDS = ("block", "backbone", "library")


@dataclass(frozen=True)
class Entry:
    """One line of ``attn2trt list``: a block at its default size, a backbone at its own, a library with some names.

    ``parameters`` and ``macs`` (of one image) are None for a block if there is no torch, and for a library. ``axes``
    may be dynamic; ``places`` has the block's place by family of backbones, if it is another than
    squeeze-and-excitation's. ``installed`` is a library's version, "" if it is not there, and ``examples`` are names of
    its models; ``licence`` is the library's, if that binds what is deployed.
    """

    name: str
    kind: str
    summary: str
    paper: str
    parameters: int | None
    macs: int | None = None
    year: int | None = None
    axes: tuple[str, ...] = ALL_AXES
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    installed: str = ""
    examples: tuple[str, ...] = ()
    licence: str = ""


def entries(*, kinds: Collection[str] = KINDS, supports: Collection[str] = ()) -> list[Entry]:
    """Every block, every backbone whose insertion points are known, and the libraries whose models work by their names.

    Any other timm model works by its name, too.

    Only those of ``kinds`` whose axes ``supports`` may be dynamic, if it is given.
    """
    sources = {"block": _blocks, "backbone": _backbones, "library": _libraries}
    found = [entry for kind, source in sources.items() if kind in kinds for entry in source()]
    return [entry for entry in found if set(supports) <= set(entry.axes)]


def _blocks() -> Iterator[Entry]:
    for info in map(block_info, block_names()):
        parameters, macs = _cost_alone(info, default_sizes(info)) or (None, None)
        yield Entry(
            info.name,
            "block",
            info.summary,
            info.paper,
            parameters,
            macs,
            year=info.year,
            axes=info.axes,
            options={option.name: option.default for option in info.options},
            places=places(info.name, replaces_conv3x3=info.replaces_conv3x3).of_its_own,
        )


def _cost_alone(info: BlockInfo, sizes: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the parameters and multiply-accumulates (of one image) of a block alone; None without torch."""
    try:
        require(PYTORCH)
    except MissingRequirement:
        return None
    import torch

    from .metering import meter

    with torch.device("meta"):
        found = meter(info.create(sizes[1], size=(sizes[2], sizes[3]), options={}), [torch.empty(1, *sizes[1:])])
    return found.cost.parameters, found.cost.macs


def _backbones() -> Iterator[Entry]:
    for found in KNOWN.values():
        arxiv = re.search(r"/abs/(\d\d)", found.paper)
        yield Entry(
            found.name,
            "backbone",
            found.summary,
            found.paper,
            found.parameters,
            found.macs,
            year=2000 + int(arxiv[1]) if arxiv else None,
        )


def _libraries() -> Iterator[Entry]:
    for name, library in libraries.LIBRARIES.items():
        facts = {"installed": library.installed, "examples": library.examples, "licence": library.licence}
        yield Entry(name, "library", library.summary, "", None, **facts)  # type: ignore[arg-type]
