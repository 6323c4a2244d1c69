"""Variants: the models that are timed beside each other. They are a target, its plain backbone, each block alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.graph import OnnxGraph
from ..core.precision import FP32
from ..core.progress import Progress
from ..core.tensor_spec import Axis, TensorSpec, optima
from ..engines.runtime import Arrays
from ..engines.timing.runners import Runner
from ..modules.dynamic import ranges_of
from ..modules.grammar import parse
from ..modules.shapes import Shape
from ..modules.target import Target
from .options import Weights

if TYPE_CHECKING:
    from torch import nn

    from ..modules.inserted import Inserted
    from ..validate.cases import Case
    from ..validate.metrics import Reference

TARGET, BACKBONE = "target", "plain backbone"


@dataclass(frozen=True)
class Built:
    """A target with its module and the graph of that."""

    target: Target
    module: nn.Module
    graph: OnnxGraph

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs of the graph, in order."""
        return tuple(output.name for output in self.graph.outputs)

    def run(self, feeds: Arrays) -> Arrays:
        """Return the outputs of the module in eager PyTorch, by name."""
        from ..engines.torch_runtime import TorchRuntime

        return TorchRuntime(self.module, self.output_names).run(feeds)


@dataclass
class Variant:
    """One model to time.

    Attributes:
        name: "target", "plain backbone", or a block with its path.
        inputs: The inputs of its graph.
        axes: The ranges of the dynamic axes of its graph.
        runners: By the name of a runtime what a process loads there, or why it cannot.
        built: The module and the graph; None for a bundle if PyTorch is not installed.
        recorded: A case with its float64 reference, from a bundle.
        block: The place of a block in the backbone; None for the target and the plain backbone.
        replaces: The class of what the plain backbone has in place of the block; "" if it has nothing there.
        precision: That of its graph; of an ONNX file it may be another than float32.
        graphs: Its graphs by precision.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    axes: Mapping[str, Axis]
    runners: dict[str, Runner | str] = field(default_factory=dict)
    built: Built | None = None
    recorded: tuple[Case, Reference] | None = None
    block: Inserted | None = None
    replaces: str = ""
    precision: str = FP32
    graphs: Mapping[str, Path] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """The optimum of every dynamic axis."""
        return optima(self.axes)

    @property
    def made(self) -> Built:
        """The module and the graph of a variant that was built here."""
        assert self.built is not None
        return self.built


@dataclass(frozen=True)
class Exporter:
    """Exports targets as ``deploy`` does, each to a folder of its own in ``folder``."""

    folder: Path
    opset: int
    progress: Progress

    def export(self, name: str, target: Target, module: nn.Module, *, folder: str = "") -> Variant:
        """Return the variant of a target. Raises what ``deploy`` raises if it cannot be exported."""
        from .float32_graph import export_graph

        place = self.folder / (folder or name)
        place.mkdir()
        self.progress(f"exporting {name}")
        graph = export_graph(target, module, place, opset=self.opset, progress=self.progress)
        built = Built(target, module, graph)
        return Variant(name, target.inputs, graph.axes, built=built, graphs={FP32: graph.path})


def resolve_as_asked(spec: str, shapes: Sequence[str], dynamic: Any, weights: Weights) -> Target:
    """Resolve a TARGET without the default batch of ``deploy``. Raises what the catalog raises."""
    from ..modules import catalog

    return catalog.resolve(
        spec,
        shapes=shapes,
        dynamic=dynamic,
        seed=weights.seed,
        pretrained=weights.pretrained,
        checkpoint=weights.checkpoint,
        random=weights.random,
        trust=weights.trust,
    )


def export_target(target: Target, exporter: Exporter) -> Variant:
    """Build the module of a target and export it. Raises what ``deploy`` raises."""
    exporter.progress("building the module")
    return exporter.export(TARGET, target, target.build())


def export_backbone(spec: str, target: Target, weights: Weights, exporter: Exporter) -> Variant | None:
    """Export the backbone of a TARGET without its blocks, at the sizes of ``target``; None for one without blocks.

    Its weights are its own, since they cost no time: random ones, or the published ones.
    """
    from ..modules import catalog

    parsed = parse(spec)
    if not parsed.insertions:
        return None
    plain = catalog.resolve(
        parsed.base.without_places,
        shapes=shape_texts(target.inputs, target.sizes()),
        dynamic=ranges_of(target.inputs, target.axes),
        seed=weights.seed,
        pretrained=weights.pretrained,
        trust=weights.trust,
    )
    exporter.progress("building the plain backbone")
    return exporter.export(BACKBONE, plain, plain.build())


def export_blocks(
    found: Sequence[Inserted], target: Variant, backbone: Variant, exporter: Exporter
) -> Iterator[Variant]:
    """Export each block of a backbone by itself, with its weights in ``target``.

    The path of a block is in its name, since two of one kind and shape may differ in an option.
    """
    from ..modules.inserted import alone, in_place_of

    for number, block in enumerate(found):
        name = f"{block.title} at {block.paths[0]}"
        exported = exporter.export(name, *alone(target.made.module, block), folder=f"block-{number}")
        yield replace(exported, block=block, replaces=in_place_of(backbone.made.module, block))


def shape_texts(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> list[str]:
    """Return the inputs at these sizes as ``--shape`` takes them."""
    return [shape_text(spec, spec.resolve(sizes)) for spec in specs]


def shape_text(spec: TensorSpec, shape: Sequence[int]) -> str:
    """Return an input at this shape as ``--shape`` takes it."""
    return Shape(spec.name, tuple(shape), spec.dtype, spec.low, spec.high, spec.layout).text
