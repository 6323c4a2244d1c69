"""Find the modules of PyTorch whose outputs a graph holds, if the graph is another function than the module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.precision import Precision
from ..activation_ends import activation_ends
from ..arrays import Array
from ..boundaries import GraphView, Opener
from ..cases import Case
from ..metrics import UNIT_ROUNDOFF
from ..onnx_reference.levels import ends_without_levels
from .dependence import modules_read
from .eager_calls import EagerCalls, Sight
from .graph_values import Rounded, Values, exactly, without_rounding
from .watching import PASS_BYTES, passes

if TYPE_CHECKING:
    from torch import nn

# Floors of an output in L2 within which a value is that output: four times the limit of a verdict.
ALIKE = 32


def held_modules(module: nn.Module, graph: Path, opener: Opener, case: Case) -> str:
    """Return in words the first module of PyTorch whose output went lost in the graph, and the last one before it that
    is a value there; the graph runs in the runtime that ``opener`` opens it in.

    An output went lost if it is no value of the graph, and none that is one is made of it: an exporter merges a
    convolution with its normalisation. Modules are taken in the order in which they return, and values are found by
    shape and numbers, not by names. An output that is one number everywhere proves nothing and is left out.
    """
    with GraphView(graph, {}) as view:
        return _held(module, view, exactly(lambda names: view.values_at(opener, case.feeds, names)), case)


def held_without_rounding(module: nn.Module, graph: Path, precision: Precision, case: Case) -> str:
    """Return what ``held_modules`` does for a file below float32, computed in float64 without its rounding."""
    types = {name: value.dtype.name for name, value in case.feeds.items() if value.dtype.kind == "f"}
    case = replace(case, narrow=types)  # the module is in float32, whatever the file takes
    ways = ends_without_levels(activation_ends(module, case))
    with GraphView(graph, {}) as view, without_rounding(graph, precision, case.feeds, ways) as values:
        return _held(module, view, values, case)


def _held(module: nn.Module, view: GraphView, values: Values, case: Case) -> str:
    truths, singles = (_outputs(module, case, is_double=is_double) for is_double in (True, False))
    outputs = {
        path: _Output(value, ALIKE * max(_l2(singles[path] - value), UNIT_ROUNDOFF * _l2(value)))
        for path, value in truths.items()
        if value.size > 1 and np.ptp(value) > 0
    }
    found = _values(outputs, view, values, case)
    read = modules_read(module, case.feeds, case)
    merged = set().union(*(read.get(path, set()) for path in found))
    lost = next((path for path in outputs if path not in found and path not in merged), "")
    behind = [path for path in found if not lost or path in read.get(lost, set())]
    last = max(behind, key=[*outputs].index, default="")

    def name(path: str) -> str:
        return f"{path} ({type(module.get_submodule(path)).__name__})"

    there = f"it holds no output of {name(lost)}" if lost else ""
    before = " before it" if lost else ""
    here = f"the last module{before} whose output it holds is {name(last)}, as {found[last]}" if last else ""
    return "; ".join(filter(None, (there, here)))


def _l2(value: Array) -> float:
    return float(np.linalg.norm(value))


@dataclass(frozen=True)
class _Output:
    """A module's output in float64, and the L2 distance within which a value counts as that output."""

    value: Array
    allowed: float

    def is_held(self, found: Rounded) -> bool:
        if found.value.shape != self.value.shape:
            return False
        return _l2(np.subtract(found.value, self.value, dtype=np.float64)) <= max(self.allowed, found.allowed)


def _outputs(module: nn.Module, case: Case, *, is_double: bool) -> dict[str, Array]:
    """The first float tensor of each module's last call, by path, in the order in which the modules return."""
    found: dict[str, Array] = {}

    def keep(sight: Sight, get: Callable[[], Array]) -> None:
        moment = sight.moment
        if moment.path and moment.kind == "leave" and moment.number == 0 and sight.is_float and sight.shape:
            found.pop(moment.path, None)
            found[moment.path] = get().copy()

    EagerCalls(module, is_double=is_double).visit(case.feeds, case, keep)
    return found


def _values(outputs: dict[str, _Output], view: GraphView, values: Values, case: Case) -> dict[str, str]:
    """Return the first value of the graph that each module's output is, by the module's path."""
    found: dict[str, str] = {}
    rows = max((value.shape[0] for value in case.feeds.values() if value.ndim), default=1)
    shapes = {output.value.shape for output in outputs.values()}
    names = [
        name
        for node in view.nodes
        for name in view.floats(node.outputs)
        if any(view.may_be(name, shape) for shape in shapes)
    ]
    for group in passes(names, lambda name: 4 * view.elements(name, rows), PASS_BYTES):
        shown = values(group)
        for path, output in outputs.items():
            held = (name for name in group if any(map(output.is_held, shown[name])))
            if path not in found and (name := next(held, "")):
                found[path] = name
    return found
