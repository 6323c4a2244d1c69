"""The values of a graph, and how far rounding may have each from what PyTorch has there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...core.precision import QUANTISED, Precision
from ..arrays import Array, Arrays
from ..onnx_reference.isolated import IsolatedEvaluator
from ..onnx_reference.levels import Ends
from ..onnx_reference.run_options import EXACT, RunOptions


class Rounded(NamedTuple):
    """A value, and the L2 distance from PyTorch's that the graph's own rounding explains."""

    value: Array
    allowed: float


# The values of these names in one run or several, each of which may be PyTorch's.
Values = Callable[[Sequence[str]], dict[str, list[Rounded]]]


def exactly(run: Callable[[Sequence[str]], Arrays]) -> Values:
    """Return the values of ``run``, which PyTorch has but for its own rounding."""
    return lambda names: {name: [Rounded(value, 0.0)] for name, value in run(names).items()}


@contextmanager
def without_rounding(graph: Path, precision: Precision, feeds: Arrays, ways: Sequence[Ends]) -> Iterator[Values]:
    """Enter a context with the values of a file below float32, computed in float64 by ONNX's reference evaluator.

    What is left of its rounding is in the weights. What that explains is counted as the verdict does, in floors of the
    precision. A floor is what half precision loses at that value in a run as the file is written; with levels, what
    changes if the stored ones lie elsewhere within half a step (see ``stored_levels``). ``ways`` are the ends that the
    levels may have.
    """
    with IsolatedEvaluator(graph, "float64") as double, IsolatedEvaluator(graph, "float32") as single:
        has_levels = precision.name in QUANTISED
        unrounded = [RunOptions(ends=ends) for ends in ways] if has_levels else [EXACT]

        def values(names: Sequence[str]) -> dict[str, list[Rounded]]:
            found: dict[str, list[Rounded]] = {name: [] for name in names}
            for way in unrounded:
                exact = double.run(feeds, way, shown=names)
                other = replace(way, moves_levels=1) if has_levels else RunOptions(as_written=True)
                moved = single.run(feeds, other, shown=names)
                for name in names:
                    lost = float(np.linalg.norm(np.subtract(moved[name], exact[name], dtype=np.float64)))
                    found[name].append(Rounded(exact[name], precision.limit * lost))
            return found

        yield values
