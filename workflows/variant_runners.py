"""The runner of a variant in each runtime, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..core.progress import Progress
from ..engines.tensorrt.flavours import FLAVOURS
from ..engines.tensorrt.here import why_no_flavour
from ..engines.timing.runners import Runner, TorchRunner
from ..engines.timing.runtimes import RUNTIMES, GraphRuntime, ModuleRuntime, PlanRuntime
from ..errors import Attn2trtError
from .options import Weights
from .variants import Built, Variant, shape_texts

NO_TUNED_GRAPH = "no tuned graph; attn2trt tune writes one into a bundle"
NO_PLAN = "no plan; attn2trt compile writes one into a bundle"


@dataclass(frozen=True)
class ModuleRunners:
    """Makes the runners of one variant; the files that they need go to ``folder``.

    Attributes:
        variant: The model.
        graph: Its graph.
        folder: An existing folder.
        progress: Called before an export that takes time.
        source: The source of the module's weights.
        why_not_built: The reason for each runtime that needs the module, if the variant was not built here.
    """

    variant: Variant
    graph: Path
    folder: Path
    progress: Progress
    source: Weights = field(default_factory=Weights)
    why_not_built: str = ""

    def runners(self, runtimes: Sequence[str]) -> dict[str, Runner | str]:
        """Return the runner in each of the ``runtimes``, or why there is none."""
        return {name: self._runner(RUNTIMES[name]) for name in runtimes}

    def _runner(self, runtime: ModuleRuntime | GraphRuntime | PlanRuntime) -> Runner | str:
        built = self.variant.built
        if isinstance(runtime, PlanRuntime):
            return why_no_flavour(FLAVOURS[runtime.flavour]) or NO_PLAN
        if isinstance(runtime, ModuleRuntime):
            return self.why_not_built if built is None else runtime.why_not() or self._module(built, runtime)
        if runtime.graph == "tuned graph":
            return NO_TUNED_GRAPH
        if runtime.graph == "plain export":
            return self.why_not_built if built is None else self._plain_export(built, runtime)
        return runtime.why_not() or runtime.runner(self.graph)

    def _module(self, built: Built, runtime: ModuleRuntime) -> TorchRunner:
        shapes = tuple(shape_texts(built.target.inputs, built.target.sizes()))
        seed, trust = self.source.seed, self.source.trust
        how = runtime._asdict()
        return TorchRunner(built.target.name, shapes, seed, self._weights, built.output_names, trust=trust, **how)

    @cached_property
    def _weights(self) -> Path:
        """The file with the module's weights."""
        from ..engines.torch_runtime import save_weights

        path = self.folder / "weights.pt"
        save_weights(self.variant.made.module, path)
        return path

    def _plain_export(self, built: Built, runtime: GraphRuntime) -> Runner | str:
        """Return the runner of what PyTorch's exporter writes by itself, or why it refuses the module."""
        from ..export.trace.plain import export_plainly

        self.progress(f"exporting the {self.variant.name} with torch.onnx.export alone")
        (self.folder / "plain").mkdir()
        path = self.folder / "plain" / "model.onnx"
        try:
            return runtime.runner(export_plainly(built.target, built.module, path, built.output_names))
        except Attn2trtError as error:
            return str(error)


def of_backbone(runtimes: Sequence[str]) -> list[str]:
    """Return the runtimes that a plain backbone is timed in: no bundle has it as a plan or a tuned graph."""
    kinds = {name: RUNTIMES[name] for name in runtimes}
    return [
        name
        for name, kind in kinds.items()
        if isinstance(kind, ModuleRuntime) or (isinstance(kind, GraphRuntime) and kind.graph == "graph")
    ]
