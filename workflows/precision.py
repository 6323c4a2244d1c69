"""Graphs below float32: how each is written, the ranges that integers need, and the floors that the verdict needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.graph import OnnxGraph
from ..core.precision import CAST, INTEGERS, PRECISIONS, QUANTISED, Precision
from ..engines.calibration import MINMAX, find_ranges, largest_on
from ..export.deploy_files import trtexec_lines
from ..export.modelopt_placement import MODELOPT, modelopt_readers
from ..export.placed import PlacedGraph, place
from ..export.precision import LowPrecisionGraph, lower
from ..export.precision_options import PrecisionOptions
from ..export.quantized import QuantizedGraph, Run, products_read, quantize
from ..export.tf32 import Tf32Graph, allow_tf32
from ..validate.calibration_inputs import CalibrationInputs, Fed, calibration_inputs
from ..validate.cases import Case
from .options import PrecisionRequest

if TYPE_CHECKING:
    from torch import nn

    from ..validate.half_precision import Half
    from ..validate.lower import Lower
    from ..validate.onnx_reference.rounding import Rounding


@dataclass(frozen=True)
class PrecisionWriter:
    """Writes a model's graphs below float32 into ``folder``; the inputs that calibrate int8 are run once.

    Attributes:
        request: The precisions and how they are written.
        graph: The float32 graph.
        target: What the graph is of.
        cases: Inputs that int8 and fp8 find their ranges on if the request names none.
        folder: The folder that the graphs are written to.
        module: The module that the graph was made of, if anybody knows.
        seed: Draws the inputs that photographs do not give.
        start: Called with the name and the text of each step.
    """

    request: PrecisionRequest
    graph: OnnxGraph
    target: Fed
    cases: Sequence[Case]
    folder: Path
    module: nn.Module | None
    seed: int
    start: Callable[[str, str], None]
    _ranges: dict[tuple[str, str], float] = field(default_factory=dict)
    _sizes: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def write(self, precision: str, keep: Sequence[str] = ()) -> LowPrecisionGraph:
        """Write the graph of this precision; what a glob in ``keep`` matches stays in float32, as what the user keeps.

        Raises what ``export.precision.lower`` and ``export.quantized.quantize`` raise.
        """
        options = PrecisionOptions((*self.request.keep_fp32, *keep), self.request.io_of(precision))
        if precision in CAST or self.graph.precision in QUANTISED:
            self.start("precision", f"writing {precision} into the graph")
            return lower(self.graph, precision, self.folder, options)
        if precision not in QUANTISED:
            return allow_tf32(self.graph)
        self.start("calibration", f"finding the ranges of {precision}")
        method = self.request.method if precision in INTEGERS else MINMAX
        source = None if self.request.calibrate is None else Path(self.request.calibrate)
        inputs = calibration_inputs(source, self.target, self.cases, seed=self.seed)
        form = QUANTISED[precision]
        calibration = f"{inputs.words}, by {method}"

        def ranges(tensors: Sequence[str]) -> Mapping[str, float]:
            return self._find(tensors, inputs, method)

        if form.is_placed:
            readers = self._readers(inputs) if self.request.placement == MODELOPT else None
            return place(
                self.graph, ranges, self.folder, calibration=calibration, form=form, readers=readers, options=options
            )
        named = () if self.module is None else self.module.named_parameters()
        return quantize(
            self.graph,
            ranges,
            self.folder,
            parameters={name: value.detach().cpu().numpy() for name, value in named},
            calibration=calibration,
            form=form,
            run=self._products_run,
            largest=None if self.module is None else self._largest(form),
            options=options,
        )

    @cached_property
    def _products_run(self) -> list[Run] | None:
        from ..validate.quantized import products_run

        return None if self.module is None else products_run(self.module, self.cases[0])

    def _largest(self, form: Precision) -> Mapping[str, float]:
        """Return the largest magnitude of what the graph's products read on the case on which PyTorch's were met."""
        if form.name not in self._sizes:
            read = products_read(self.graph, form)
            self._sizes[form.name] = largest_on(self.graph.path, read, self.cases[0].feeds)
        return self._sizes[form.name]

    def _readers(self, inputs: CalibrationInputs) -> frozenset[tuple[str, int]]:
        """Return the inputs of nodes that modelopt reads in 8 bits, on the first of the inputs."""
        self.start("placement", "asking nvidia-modelopt where pairs stand")
        return modelopt_readers(self.graph, next(iter(inputs.make())))

    def _find(self, tensors: Sequence[str], inputs: CalibrationInputs, method: str) -> Mapping[str, float]:
        missing = [name for name in tensors if (method, name) not in self._ranges]
        if missing:
            found = find_ranges(self.graph.path, missing, inputs.make, method=method)
            self._ranges.update({(method, name): largest for name, largest in found.items()})
        return {name: self._ranges[method, name] for name in tensors}


def floor_of(low: LowPrecisionGraph) -> Lower:
    """Return the precision whose floors the reference must measure to judge this graph."""
    from ..validate.half_precision import Half
    from ..validate.quantized import EightBit
    from ..validate.tf32 import Tf32
    from ..validate.unrounded import Unrounded

    if isinstance(low, Tf32Graph):
        return Tf32()
    if isinstance(low, PlacedGraph):
        from ..validate.placed import Placed

        modules = {name: low.graph.modules_of(name) for name in low.lowered}
        return Placed(low.precision, low.source, rounding_of(low), modules, io=low.graph.io)
    if isinstance(low, QuantizedGraph):
        return EightBit(low.scales, low.ran_by, low.precision)
    if low.graph.precision not in QUANTISED:
        return Half(low.precision, low.kept_within, low.kept_exactly, io=low.graph.io)
    return Unrounded(low.precision, rest_of(low), io=low.graph.io)


def rest_of(low: LowPrecisionGraph) -> Half:
    """Return the half precision, of what a graph does not quantise, in which a module of PyTorch can run."""
    from ..validate.half_precision import Half

    return Half(PRECISIONS[low.precision].rest, low.kept_within, low.kept_exactly, io=low.graph.io)


def rounding_of(low: PlacedGraph) -> Rounding:
    """Return the rounding of the float32 graph's nodes in a graph with 8 bits between its products."""
    from ..validate.onnx_reference.rounding import placed_rounding

    plan = low.plan
    products = [product.node for product in plan.products]
    return placed_rounding(low.source, products, plan.readers, plan.scales, plan.half, plan.form)


def files_of(lowered: Mapping[str, LowPrecisionGraph]) -> dict[str, str]:
    """Return the files of the graphs, and what each is."""
    return {
        name: f"graph, {precision}" if number == 0 else f"weights of the graph, {precision}"
        for precision, low in lowered.items()
        for number, name in enumerate(low.files)
    }


def entries_of(lowered: Mapping[str, LowPrecisionGraph], target: Fed) -> dict[str, Any]:
    """Return the manifest's entry of each graph."""
    return {
        name: {**low.to_json(), "trtexec": trtexec_lines(low, target.inputs, target.axes)}
        for name, low in lowered.items()
    }
