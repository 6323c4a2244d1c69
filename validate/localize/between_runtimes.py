"""Find the node at which a runtime leaves the graph's own float64, without PyTorch and its modules."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from ...core.precision import Precision
from ..arrays import Arrays
from ..boundaries import Opener
from ..cases import Case
from ..metrics import GRAPH, Reference
from ..onnx_reference.isolated import IsolatedEvaluator
from .between import Side, locate_between
from .location import LOSSES, Location

if TYPE_CHECKING:
    from torch import nn


_WRITTEN = "attn2trt deploy of the PyTorch module writes it exactly"
_LOSSES_OF_FILES = {
    **LOSSES,
    "Resize": f"ONNX divides places by out / in, which float32 rounds: {_WRITTEN}",
    "GroupNormalization": f"the mean of squares minus the square of the mean loses digits far from zero: {_WRITTEN}",
}


@dataclass(frozen=True)
class NodeLocation(Location):
    """The place of an error in a graph without modules: the node alone, with its place in the file."""

    position: int = -1

    def __str__(self) -> str:
        said = (f"first wrong at ONNX node {self.position}, {self.node} ({self.op_type})", self.detail)
        return "; ".join([*said, *filter(None, [_LOSSES_OF_FILES.get(self.op_type)])])


@dataclass(frozen=True)
class Elsewhere(Location):
    """An error that no node makes: the runtime computes the graph rightly, and the graph is another function."""

    def __str__(self) -> str:
        return f"the runtime computes what the graph says, and the graph is not {self.detail}"


@dataclass(frozen=True)
class AnotherFunction(Location):
    """An error of a file below float32 that is no rounding: without any, it is another function than the module."""

    def __str__(self) -> str:
        return f"without its rounding, {self.detail}"


class TruthSession:
    """The evaluator in float64, answering in the types that a runtime reads."""

    def __init__(self, path: Path) -> None:
        self._evaluator = IsolatedEvaluator(path, "float64")

    def __enter__(self) -> TruthSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._evaluator.__exit__(kind, error, trace)

    def run(self, feeds: Arrays) -> Arrays:
        """Return the outputs by name, floats in float32."""
        outputs = self._evaluator.run(feeds)
        with np.errstate(over="ignore"):
            return {
                name: value.astype(np.float32) if value.dtype == np.float64 else value
                for name, value in outputs.items()
            }


def locate_node(
    graph: Path,
    opener: Opener,
    case: Case,
    reference: Reference,
    *,
    made_of: Path | None,
    module: nn.Module | None = None,
) -> Location | None:
    """Return the first node of a graph file whose value leaves float64 in the runtime that ``opener`` opens it in.

    The float64 is that of ``made_of`` if the graph was made of another one: values are compared by their names. None if
    no output leaves it and the truth is the graph's own; Elsewhere if it is another's, that of ``module`` if it is
    given.
    """
    import onnx

    truth, judged = Side(made_of or graph, TruthSession), Side(graph, opener)
    found = locate_between(truth, judged, case, {}, floors=reference.floors)
    if found is None:
        why = f"what {reference.source} computes"
        if module is not None:
            from .held import held_modules

            why = ": ".join(filter(None, (why, held_modules(module, graph, opener, case))))
        return None if reference.source == GRAPH else Elsewhere.of("", None, None, 0.0, why)
    names = [node.name for node in onnx.load(str(graph), load_external_data=False).graph.node]
    position = names.index(found.node) if found.node in names else -1
    return NodeLocation(**{part.name: getattr(found, part.name) for part in fields(found)}, position=position)


def locate_module_lost(graph: Path, precision: Precision, case: Case, module: nn.Module) -> Location:
    """Return the first module whose output a file below float32 does not hold, its own rounding left out."""
    from .held import held_without_rounding

    found = held_without_rounding(module, graph, precision, case)
    return AnotherFunction.of("", None, None, 0.0, found or "it holds no output of a module to compare")
