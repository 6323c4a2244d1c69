"""The loss of a graph with 8 bits between its products by itself: the float32 graph with these levels and roundings.

Where a residual or a gate is read in 8 bits is a place in the graph, which no module of PyTorch has. The float32 graph,
which its own stages judge beside PyTorch, is therefore run by ONNX's reference evaluator, each node rounding what the
policy says. No runtime that is judged has a part in it, and the truth stays PyTorch in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.graph_io import FLOAT32
from ..core.module_path import is_within
from .lower import InGraph
from .onnx_reference.rounding import Rounding

if TYPE_CHECKING:
    from .arrays import Arrays
    from .onnx_reference.evaluator import Evaluator


@dataclass(frozen=True)
class Placed(InGraph):
    """A precision to measure in a graph.

    Attributes:
        precision: Its name.
        graph: The float32 graph.
        rounding: What each of its nodes loses.
        modules: The modules of each node, by its name.
        draws: The runs whose largest error is the floor.
        io: The type of the outputs.
    """

    precision: str
    graph: Path
    rounding: Rounding
    modules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    draws: tuple[int, ...] = (0, 1, 2, 3)
    io: str = FLOAT32

    def outputs(self, feeds: Arrays, draw: int, of_module: Callable[[], Arrays]) -> Arrays:
        """Return the outputs of one run by name; the module is not run."""
        from .onnx_reference.references import DRAWS

        state = self.graph.stat()
        evaluator = _evaluator(self.graph, state.st_mtime_ns, state.st_size)
        return evaluator.run(feeds, replace(DRAWS[draw], rounding=self.rounding))

    def without(self, modules: Sequence[str]) -> Placed:
        """Return this precision with these modules, by path, and all inside them in float32 as well."""
        return self._where(lambda path: not is_within(path, modules))

    def only(self, modules: Sequence[str]) -> Placed:
        """Return this precision in these modules' own operators alone."""
        return self._where(lambda path: path in modules)

    def _where(self, is_lowered: Callable[[str], bool]) -> Placed:
        def kept(found: Mapping[str, Any]) -> dict[str, Any]:
            return {node: what for node, what in found.items() if all(map(is_lowered, self.modules.get(node, ("",))))}

        rounding = self.rounding
        half, levels, tensors = kept(rounding.half), kept(rounding.levels), kept(rounding.tensors)
        return replace(self, rounding=replace(rounding, half=half, levels=levels, tensors=tensors))


@functools.lru_cache(maxsize=1)
def _evaluator(path: Path, _changed: int, _size: int) -> Evaluator:
    """Return the evaluator of a graph, which is read once until the file changes."""
    from .onnx_reference.evaluator import Evaluator

    return Evaluator(path, FLOAT32)
