"""Ranges of tensors inside a graph, found by running it on inputs: what 8-bit integers have to hold.

- ``minmax``: the largest magnitude that was met;
- ``percentile``: the magnitude that 99.99 % of the numbers stay below;
- ``entropy``: the range whose 128 levels keep most of what the distribution says: the least Kullback-Leibler divergence
  from the histogram, as TensorRT calibrates (Migacz, "8-bit Inference with TensorRT", GTC 2017).

The last two look at a histogram of the magnitudes, zeros left out, which every range holds exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.graph import save
from ..core.scratch import scratch
from ..errors import CheckFailed
from .isolated import IsolatedRuntime
from .runtime import Arrays

MINMAX, PERCENTILE, ENTROPY = "minmax", "percentile", "entropy"
METHODS = (MINMAX, PERCENTILE, ENTROPY)
SHARE = 0.9999
BINS, LEVELS = 2048, 128
# Every so many bins a range is tried; the least is the first that has a bin for each level.
STRIDE = 8

Histogram = npt.NDArray[np.float64]


def find_ranges(
    graph: Path, tensors: Sequence[str], inputs: Callable[[], Iterable[Arrays]], *, method: str = MINMAX
) -> dict[str, float]:
    """The range of each of the ``tensors`` of the graph over all ``inputs``, which are made anew for each pass.

    Raises CheckFailed if ONNX Runtime cannot run it, or where a tensor is not finite.
    """
    with _exposed(graph, tensors) as run:
        largest = dict.fromkeys(tensors, 0.0)
        for feeds in inputs():
            outputs = run(feeds)
            largest = {name: max(found, _largest(name, outputs[name])) for name, found in largest.items()}
        if method == MINMAX:
            return largest
        counts = {name: np.zeros(BINS) for name in tensors}
        for feeds in inputs():
            outputs = run(feeds)
            for name in tensors:
                counts[name] += _histogram(outputs[name], largest[name])
    chosen = {PERCENTILE: percentile_bins, ENTROPY: entropy_bins}[method]
    return {name: largest[name] * chosen(counts[name]) / BINS for name in tensors}


def largest_on(graph: Path, tensors: Sequence[str], feeds: Arrays) -> dict[str, float]:
    """Return the largest magnitude of each of the ``tensors`` on one input, finite or not.

    Raises CheckFailed if ONNX Runtime cannot run the graph.
    """
    with _exposed(graph, tensors) as run:
        found = run(feeds)
    return {name: float(np.abs(found[name]).max(initial=0.0)) for name in tensors}


@contextmanager
def _exposed(graph: Path, tensors: Sequence[str]) -> Iterator[Callable[[Arrays], Arrays]]:
    """Enter a context with a function that runs the graph: it gives these tensors and the inputs by name."""
    with scratch("calibration") as folder:
        path = folder / "calibration.onnx"
        _expose(graph, tensors, path)
        # as it is written: ONNX Runtime's optimiser may lose a convolution's result that is both added and an output
        with IsolatedRuntime(path, optimise=False) as runtime:
            yield lambda feeds: {**feeds, **runtime.run(feeds)}


def percentile_bins(counts: Histogram) -> int:
    """Return how many bins hold SHARE of what was counted."""
    return int(np.searchsorted(np.cumsum(counts), SHARE * counts.sum())) + 1


def entropy_bins(counts: Histogram) -> int:
    """Return how many bins make the range with the least divergence between the histogram and its levels.

    A value beyond the range is counted in its last bin, as it is when it saturates.
    """
    tried = range(LEVELS, BINS + 1, STRIDE)
    return min(tried, key=lambda bins: _divergence(counts, bins))


def _divergence(counts: Histogram, bins: int) -> float:
    inside = counts[:bins]
    wanted = inside.copy()
    wanted[-1] += counts[bins:].sum()
    if not wanted.sum():
        return np.inf
    # every level spreads what it holds over its bins that are not empty
    level = np.arange(bins) * LEVELS // bins
    filled = wanted > 0
    held = np.bincount(level, inside, LEVELS)
    shared = np.bincount(level, filled, LEVELS)
    spread = np.where(filled, held[level] / np.maximum(shared[level], 1), 0.0)
    if not spread.sum():
        return np.inf
    p, q = wanted[filled] / wanted.sum(), spread[filled] / spread.sum()
    # a range that holds only saturated values has empty levels
    return float((p * np.log(p / np.maximum(q, np.finfo(float).tiny))).sum())


def _largest(name: str, value: npt.NDArray[Any]) -> float:
    largest = float(np.abs(value).max(initial=0.0))
    if not np.isfinite(largest):
        raise CheckFailed(
            f"tensor {name} is not finite on a calibration input, so that it has no range; calibrate on other inputs"
        )
    return largest


def _histogram(value: npt.NDArray[Any], largest: float) -> Histogram:
    magnitudes = np.abs(value[value != 0]).astype(np.float64)
    if not magnitudes.size:
        return np.zeros(BINS)
    return np.histogram(magnitudes, BINS, (0.0, largest))[0].astype(np.float64)


def _expose(graph: Path, tensors: Sequence[str], path: Path) -> None:
    """Write the graph with these tensors as its outputs, those that are its inputs left out."""
    import onnx_ir as ir

    model = ir.load(str(graph))
    wanted = set(tensors)
    inside = [value for node in model.graph for value in node.outputs if value.name in wanted]
    if inside:
        model.graph.outputs.clear()
        model.graph.outputs.extend(inside)
    save(model, path)
