"""The truth that graphs are held against: a PyTorch module in float64, or a file's own graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from ..core.graph import ModelGraph, OnnxGraph
from ..core.graph_io import FLOAT32
from ..core.precision import CAST, FP32, PRECISIONS, QUANTISED
from ..export.placed import PlacedGraph
from ..export.precision import LowPrecisionGraph
from ..export.quantized import QuantizedGraph
from ..export.tf32 import Tf32Graph
from ..validate.cases import Case
from ..validate.hidden import Hidden
from ..validate.onnx_reference.isolated import IsolatedEvaluator
from ..validate.onnx_reference.references import GraphLower, graph_references
from ..validate.onnx_reference.rounding import Rounding, half_rounding, level_rounding, product_rounding
from ..validate.own_choices.graph_runs import GraphRuns
from ..validate.own_choices.runs import Runs
from .precision import floor_of, rounding_of

if TYPE_CHECKING:
    from torch import nn

    from ..validate.lower import Lower
    from ..validate.metrics import Reference
    from ..validate.stored_levels import StoredLevels

Lowered = Mapping[str, LowPrecisionGraph]  # graphs of lower precisions, by precision
Truths = Iterator[tuple[Case, "Reference | Exception"]]


class Truth(Protocol):
    """The truth of graphs, and what gives it with other choices."""

    @property
    def module(self) -> nn.Module | None:
        """The module of PyTorch whose float64 it is; None if it is a graph's own."""

    @property
    def own_levels(self) -> bool:
        """True if the graph has 8-bit levels that are those of the module."""

    def open(self, cases: Sequence[Case], lowered: Lowered, hidden: Hidden) -> tuple[Truths, Runs]:
        """Return what computes the truth of each case with all floors, and what gives it with other choices."""
        ...


@dataclass(frozen=True)
class ModuleTruth:
    """A PyTorch module in float64.

    Attributes:
        module: The module.
        graph: The graph that is held against it.
        seed: Draws the noise of the floors.
        own_levels: The graph has 8-bit levels, and they are those of the module.
        stored: The levels of a graph whose module has none.
    """

    module: nn.Module
    graph: OnnxGraph
    seed: int
    own_levels: bool
    stored: StoredLevels | None = None

    def open(self, cases: Sequence[Case], lowered: Lowered, hidden: Hidden) -> tuple[Truths, Runs]:
        """Return what computes the truth of each case with all floors, and what gives it with other choices."""
        from ..validate.own_choices.module_runs import ModuleRuns
        from ..validate.reference import references
        from ..validate.unrounded import Unrounded

        lower = [*self._own_floor(), *map(self._floor_of, lowered.values())]
        names = [spec.name for spec in self.graph.outputs]
        found = references(self.module, cases, names, seed=self.seed, hidden=hidden, lower=lower)
        # what is lost between levels that are given
        halves = [one.half for one in lower if isinstance(one, Unrounded) and one.half is not None]
        return zip(cases, found, strict=True), ModuleRuns(self.module, names, self.seed, [*lower, *halves])

    def _own_floor(self) -> list[Lower]:
        """Return what the precision that the graph itself computes in loses, if that is below float32."""
        from ..validate.half_precision import Half
        from ..validate.unrounded import Unrounded

        if self.graph.precision in CAST:
            return [Half(self.graph.precision)]
        if self.stored is not None:
            return [self.stored]
        return [Unrounded(self.graph.precision)] if self.own_levels else []

    def _floor_of(self, low: LowPrecisionGraph) -> Lower:
        """Return what a graph that was made of this one loses."""
        if self.stored is None:
            return floor_of(low)
        return replace(self.stored, precision=low.precision, rounding=_rounding(low, self.graph), io=low.graph.io)


@dataclass(frozen=True)
class GraphTruth:
    """The graph of a file in float64, as the file has it.

    Attributes:
        model: The graph.
        seed: Draws the nudges that find out what rounding decides.
        seconds: Time limit of every answer of an evaluator.
        stack: Ends the evaluators.
    """

    model: ModelGraph
    seed: int
    seconds: float
    stack: ExitStack
    module: None = None
    own_levels: bool = False

    def open(self, cases: Sequence[Case], lowered: Lowered, hidden: Hidden) -> tuple[Truths, Runs]:
        """Return what computes the truth of each case with all floors, and what gives it with other choices."""
        graph, exported = self.model.graph, self.model.exported
        double, single = (self._evaluator(exported, dtype) for dtype in ("float64", "float32"))
        of_lowered = self._evaluator(graph, "float32") if lowered and graph.path != exported.path else None
        lower = [] if graph.precision == FP32 else [GraphLower(graph.precision)]
        lower += [GraphLower(name, _rounding(low, graph)) for name, low in lowered.items()]
        runs = GraphRuns(double, single, self.seed, lower, of_lowered)
        found = graph_references(double, single, cases, seed=self.seed, lower=lower, lowered=of_lowered, hidden=hidden)
        return found, runs

    def _evaluator(self, graph: OnnxGraph, dtype: str) -> IsolatedEvaluator:
        return self.stack.enter_context(IsolatedEvaluator(graph.path, dtype, seconds=self.seconds))


def _rounding(low: LowPrecisionGraph, graph: OnnxGraph) -> Rounding:
    """Return what the nodes of ``graph`` lose in the lower precision that was made of it."""
    row = PRECISIONS[low.precision]
    if isinstance(low, PlacedGraph):
        return replace(rounding_of(low), outputs="" if low.graph.io == FLOAT32 else low.graph.io)
    if isinstance(low, QuantizedGraph):
        return level_rounding(graph.path, low.lowered, low.ranges, row)
    if isinstance(low, Tf32Graph):
        return product_rounding(low.lowered)
    if graph.precision in QUANTISED:
        return half_rounding(low.lowered, PRECISIONS[row.rest], io=low.graph.io, rounds=True)
    return half_rounding(low.lowered, row, io=low.graph.io)
