"""The loss of the levels that a quantised file stores, beside a module that has none.

Where such a file rounds is a place in its graph, and its weights are integers: the numbers that they were rounded from
are nowhere. ONNX's reference evaluator therefore runs the graph twice, in float64 without any level, and with all of
them. In some of these runs the stored levels lie anywhere within half a step of where they are, as what they were
rounded from does. What differs is what the levels lose, and is added to what PyTorch gives. A graph that is another
function than the module differs from it by more.

A range cuts values off, and the loss holds what calibration left out so. But a range that begins at zero may end where
an activation ends that the quantiser left out, as a ReLU6, or below: without it the graph is another function. So the
graph without levels is run in each of these ways, and what is nearest to PyTorch counts. Where the file is off by less
than its budget, a floor is then no more than about twice that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..core.graph_io import FLOAT32
from .lower import InGraph
from .metrics import measure
from .onnx_reference.isolated import IsolatedEvaluator
from .onnx_reference.levels import Ends
from .onnx_reference.rounding import Rounding
from .onnx_reference.run_options import RunOptions

if TYPE_CHECKING:
    from .arrays import Array, Arrays


@dataclass(frozen=True)
class StoredLevels(InGraph):
    """The floor of a quantised file.

    Attributes:
        precision: Its name.
        double: Runs the file in float64.
        single: Runs it in float32.
        ways: The ends that its levels may have without rounding.
        rounding: What its nodes lose beside the levels in a graph that was made of it; None for the file as written.
        draws: The runs whose largest error is the floor.
        io: The type of the outputs.
    """

    precision: str
    double: IsolatedEvaluator
    single: IsolatedEvaluator
    ways: Sequence[Ends]
    rounding: Rounding | None = None
    draws: tuple[int, ...] = (0, 1, 2, 3)
    io: str = FLOAT32
    # inputs, what PyTorch gives for them, and the file without levels in the way that is nearest to that
    _met: list[tuple[Arrays, Arrays, Arrays]] = field(default_factory=list, repr=False, compare=False)

    def outputs(self, feeds: Arrays, draw: int, of_module: Callable[[], Arrays]) -> Arrays:
        """Return what PyTorch gives, and what the levels change in the file; ``draw`` 0 has the stored ones."""
        if not self._met or self._met[0][0] is not feeds:
            given = of_module()
            ways = [self.double.run(feeds, RunOptions(ends=ends)) for ends in self.ways]
            self._met[:] = [(feeds, given, min(ways, key=lambda found: _apart(found, given)))]
        _, given, exact = self._met[0]
        drawn, as_written = draw or None, self.rounding is None
        options = RunOptions(rounding=self.rounding, as_written=as_written, draw=drawn, moves_levels=drawn)
        levelled = self.single.run(feeds, options)
        return {name: _changed(value, exact[name], levelled[name]) for name, value in given.items()}

    def without(self, modules: Sequence[str]) -> StoredLevels:
        """Return this precision as it is: modules have no place in the file."""
        return self

    def only(self, modules: Sequence[str]) -> StoredLevels:
        """Return this precision as it is: modules have no place in the file."""
        return self


def _apart(found: Arrays, given: Arrays) -> float:
    """Return the distance of the outputs from those that PyTorch gives: the largest relative L2 of a float one."""
    return max(
        (measure(found[name], value).l2 for name, value in given.items() if value.dtype.kind == "f"), default=0.0
    )


def _changed(value: Array, before: Array, after: Array) -> Array:
    """Return a value, changed as another one was; of whole numbers, what that was changed to."""
    if value.dtype.kind != "f":
        return np.where(before == after, value, after).astype(value.dtype)
    return (value + (after.astype(np.float64) - before)).astype(value.dtype)
