"""The distance of every graph of a bundle from the float32 graph at the boundaries of modules; needs no PyTorch.

Nothing is judged: a precision may lose more inside of a module than at its end. It shows where an error begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.bundle import Bundle
from ..core.precision import PRECISIONS
from ..errors import CheckFailed
from .arrays import Arrays
from .boundaries import GraphView, Opener
from .cases import Case
from .metrics import measure
from .place import Boundary
from .stages.judge import Pairs
from .stages.ort_process import start
from .stages.stage import ORT_CPU, WRITTEN, Stage


def along_network(bundle: Bundle, pairs: Pairs) -> Iterator[tuple[Stage, tuple[Boundary, ...]]]:
    """Yield every stage with the error at each module's outputs, in roundings of a number of its precision.

    The smallest recorded case is run, through the float32 graph as it is written and beside it through that graph as
    production runs it, then through every graph of a lower precision. Stages that do not run here are left out.
    """
    case = min((case for case, _ in pairs()), key=lambda case: math.prod(case.sizes.values()), default=None)
    if case is None:  # each was too large to be recorded
        return
    for stage in (Stage(ORT_CPU, bundle.precision), *(Stage(WRITTEN, name) for name in bundle.precisions)):
        graph = bundle.path / bundle.graphs[stage.precision]
        try:
            yield stage, _compared(bundle.model_path, graph, bundle.node_modules(stage.precision), stage, case)
        except CheckFailed:  # the verdict says so
            continue


def _compared(
    reference: Path, other: Path, modules: Mapping[str, str], stage: Stage, case: Case
) -> tuple[Boundary, ...]:
    from .localize.watching import PASS_BYTES, passes

    unit = PRECISIONS[stage.precision].unit_roundoff
    feeds = case.feeds
    ratios: dict[str, float] = {}
    with GraphView(reference, {}) as truth, GraphView(other, modules) as view:
        names = _leaving(view, truth)
        rows = max((value.shape[0] for value in feeds.values() if value.ndim), default=1)
        for group in passes(names, lambda name: 8 * view.elements(name, rows), PASS_BYTES):
            expected = truth.values_at(_opener(Stage(WRITTEN)), feeds, group)
            received = view.values_at(_opener(stage), feeds, group)
            ratios |= _ratios(group, expected, received, unit)
        made = [(node.module, name) for node in view.nodes for name in node.outputs if name in ratios]
        return tuple(Boundary(module, "leave", ratios[name], "measured") for module, name in made)


def _opener(stage: Stage) -> Opener:
    return lambda path: start(stage, path)


def _leaving(view: GraphView, truth: GraphView) -> list[str]:
    """Return the values that leave a module and are in both graphs, in the order of the graph."""
    at_boundary = set(view.outputs)
    for path in {node.module for node in view.nodes}:
        at_boundary.update(view.leaving(path))
    made = (name for node in view.nodes for name in view.floats(node.outputs))
    return [name for name in made if name in at_boundary and name in truth.producer]


def _ratios(names: Sequence[str], expected: Arrays, received: Arrays, unit: float) -> dict[str, float]:
    found = {}
    for name in names:
        if name in expected and name in received and expected[name].shape == received[name].shape:
            with np.errstate(over="ignore", invalid="ignore"):
                found[name] = measure(received[name].astype(np.float64), expected[name].astype(np.float64)).l2 / unit
    return found
