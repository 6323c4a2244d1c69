"""The graphs that ``cost`` times, each as that of a bundle: the target, the plain backbone, each block alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.graph import OnnxGraph
from ..core.progress import Progress
from ..core.tensor_spec import TensorSpec
from ..core.traffic import Traffic, traffic
from ..errors import InputError
from ..modules.grammar import is_file, parse
from ..modules.target import Target
from .options import Weights

if TYPE_CHECKING:
    from torch import nn

    from ..modules.inserted import Inserted

TARGET, PLAIN = "target", "plain backbone"


@dataclass(frozen=True)
class Subject:
    """One graph with the module that it was made of, what was counted in it, and the sizes of its dynamic axes.

    ``block`` says where it stands in the backbone, None for the target and the plain backbone; ``replaces`` is the
    class of what the plain backbone has there, "" where it has nothing.
    """

    name: str
    target: Target
    module: nn.Module
    graph: OnnxGraph
    counted: Traffic
    sizes: Mapping[str, int]
    block: Inserted | None = None
    replaces: str = ""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        return self.target.inputs


def check_target(spec: str, shapes: Sequence[str]) -> None:
    """Raise InputError for a backbone without a block, a block without its shape, and a bundle."""
    from ..modules import catalog
    from ..modules.block_index import block_names
    from ..modules.packages import require

    # a path; a folder that happens to have the name of a target is none
    if "/" in spec and ":" not in spec and not is_file(spec):
        raise InputError(
            f"received {spec}, the path of a bundle; expected a TARGET, since no bundle holds the plain backbone; "
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
    from ..modules import catalog
    from ..modules.inserted import in_place_of, inserted
    from ..modules.packages import require

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
    bare = plain.build()
    yield _subject(PLAIN, plain, bare, folder / PLAIN, opset, progress)
    plan = catalog.read(spec, shapes=shapes, dynamic=dynamic, seed=seed)
    for number, block in enumerate(inserted(plan)):
        subject = _alone(block, module, folder / f"block-{number}", opset, progress)
        yield replace(subject, replaces=in_place_of(bare, block))


def _alone(block: Inserted, module: nn.Module, folder: Path, opset: int, progress: Progress) -> Subject:
    """A block by itself; the path is in its name, since two of one kind and shape may differ in an option."""
    from ..modules.inserted import alone

    target, part = alone(module, block)
    name = f"{block.title} at {block.paths[0]}"
    return replace(_subject(name, target, part, folder, opset, progress), block=block)


def _subject(
    name: str,
    target: Target,
    module: nn.Module,
    folder: Path,
    opset: int,
    progress: Progress,
) -> Subject:
    from .float32_graph import export_graph

    folder.mkdir()
    progress(f"exporting {name}")
    graph = export_graph(target, module, folder, opset=opset)
    sizes = {axis: found.opt for axis, found in graph.axes.items()}
    return Subject(name, target, module, graph, traffic(graph.path, sizes), sizes)
