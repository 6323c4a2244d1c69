"""What ``cost`` times: the target, the plain backbone and each of the blocks alone, each as the graph of a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .benchmarking import is_bundle
from .contenders import Progress, Weights
from .errors import InputError
from .export.graph import OnnxGraph
from .export.traffic import Traffic, traffic
from .modules.grammar import Part, parse
from .modules.target import Target, TensorSpec

if TYPE_CHECKING:
    from torch import nn

    from .modules.catalog import Plan
    from .modules.inserted import Inserted

TARGET, PLAIN = "target", "plain backbone"


@dataclass(frozen=True)
class Subject:
    """One graph with the module that it was made of, what was counted in it, and the sizes of its dynamic axes.

    ``block`` says where it stands in the backbone; None for the target and the plain backbone.
    """

    name: str
    target: Target
    module: nn.Module
    graph: OnnxGraph
    counted: Traffic
    sizes: Mapping[str, int]
    block: Inserted | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        return self.target.inputs


def check_target(spec: str, shapes: Sequence[str]) -> None:
    """Raise InputError for a backbone without a block, a block without its shape, and a bundle."""
    from .modules import catalog
    from .modules.block_index import block_names
    from .modules.packages import require

    if is_bundle(spec):
        raise InputError(
            f"received {spec}, a folder; expected a TARGET, since a bundle holds no plain backbone; "
            "name what it was deployed from, as resnet50+cbam"
        )
    parsed = parse(spec)
    if parsed.insertions or parsed.base.is_user_code:
        return
    if parsed.base.name not in block_names():
        require()
        catalog.read(spec, shapes=shapes)  # an unknown name is its own error
        raise InputError(
            f"received {spec}, a backbone without a block; expected one with the block whose cost is asked for; "
            f"write {spec}+cbam"
        )
    if not shapes:
        raise InputError(
            f"received block {spec!r} without a shape; expected the one that it is given where it is used, "
            "which decides what it costs; add --shape 1x64x112x112"
        )


def subjects(
    spec: str,
    folder: Path,
    *,
    shapes: Sequence[str],
    dynamic: str | None,
    weights: Weights,
    opset: int,
    progress: Progress,
) -> Iterator[Subject]:
    """The target and, of a backbone with blocks, the plain backbone and the blocks; graphs go to ``folder``.

    Raises what ``deploy`` raises.
    """
    from .modules import catalog
    from .modules.packages import require

    require()
    progress("resolving the target")
    seed, pretrained = weights.seed, weights.pretrained
    resolved = catalog.resolve(
        spec, shapes=shapes, dynamic=dynamic, seed=seed, pretrained=pretrained, checkpoint=weights.checkpoint
    )
    progress("building the module")
    module = resolved.build()
    yield _subject(TARGET, resolved, module, folder / TARGET, opset, progress)
    parsed = parse(spec)
    if not parsed.insertions:
        return
    base = parsed.base.without_places
    plain = catalog.resolve(base, shapes=shapes, dynamic=dynamic, seed=seed, pretrained=pretrained)
    progress("building the plain backbone")
    yield _subject(PLAIN, plain, plain.build(), folder / PLAIN, opset, progress)
    yield from _blocks(catalog.read(spec, shapes=shapes, dynamic=dynamic, seed=seed), module, folder, opset, progress)


def replaced_convolutions(spec: str) -> tuple[str, ...]:
    """The blocks of ``spec`` that stand in for a convolution of the backbone, where their papers have them."""
    from .modules.block_index import block_info

    def replaces(part: Part) -> bool:
        return not part.is_user_code and block_info(part.name).replaces_conv3x3

    return tuple(dict.fromkeys(part.name for part in parse(spec).insertions if replaces(part)))


def _blocks(plan: Plan, module: nn.Module, folder: Path, opset: int, progress: Progress) -> Iterator[Subject]:
    from .modules.inserted import alone, inserted

    seen: set[str] = set()
    for number, block in enumerate(inserted(plan)):
        target, part = alone(module, block)
        # two of one kind and shape may differ in an option
        name = block.title if block.title not in seen else f"{block.title} at {block.paths[0]}"
        seen.add(name)
        yield _subject(name, target, part, folder / f"block-{number}", opset, progress, block)


def _subject(
    name: str,
    target: Target,
    module: nn.Module,
    folder: Path,
    opset: int,
    progress: Progress,
    block: Inserted | None = None,
) -> Subject:
    from .pipeline import export_graph

    folder.mkdir()
    progress(f"exporting the {name}" if block is None else f"exporting {name} alone")
    graph = export_graph(target, module, folder, opset=opset)
    sizes = {axis: found.opt for axis, found in graph.axes.items()}
    return Subject(name, target, module, graph, traffic(graph.path, sizes), sizes, block)
