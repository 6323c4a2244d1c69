"""The source of candidate graphs: a bundle's graph, and the options with which a lower precision was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..core.bundle import Bundle
from ..core.graph import OnnxGraph
from ..core.graph_io import FLOAT32
from ..core.precision import CAST, FP32, PRECISIONS, QUANTISED, TF32, Precision
from ..errors import InputError


@dataclass(frozen=True)
class Choice:
    """One way to write all places of one kind.

    Attributes:
        name: The rewrite or the choice of precision.
        kind: The kind of place. Of two choices of one kind only one can be taken.
        count: The number of places.
    """

    name: str
    kind: str
    count: int


@dataclass(frozen=True)
class Source:
    """The graph that candidates are made of, and the options of its graphs below float32.

    Attributes:
        graph: The graph, in float32 or with levels of its own.
        keep: Globs over modules that stay in float32.
        io: The type of the inputs and outputs.
        ranges: The largest magnitude of each tensor that the graph passes on in 8 bits. A candidate passes on no
            others: nobody has measured them.
    """

    graph: OnnxGraph
    keep: tuple[str, ...] = ()
    io: str = FLOAT32
    ranges: Mapping[str, float] = field(default_factory=dict)

    def calibrate(self, tensors: Sequence[str]) -> dict[str, float]:
        """Return the range of each tensor, NaN for one that is not known."""
        return {name: self.ranges.get(name, math.nan) for name in tensors}


def floats_of(precision: str) -> Precision | None:
    """Return the half precision in which a graph computes what is not in 8 bits; None if that is float32."""
    return CAST.get(PRECISIONS[precision].rest if precision in QUANTISED else precision)


def as_it_is(own: str) -> tuple[str, ...]:
    """Return the precisions of plans that are built of a graph in its ``own`` precision."""
    return (FP32, TF32) if own == FP32 else (own,)


def source_of(bundle: Bundle, precision: str) -> Source:
    """Return what the bundle's graph of this precision was made of; raises InputError if it has none."""
    if precision not in bundle.precisions and precision not in as_it_is(bundle.precision):
        have = ", ".join(bundle.graphs)
        raise InputError(
            f"received the precision {precision}, of which {bundle.path} has no graph; it has {have}; deploy it with "
            f"--precision {precision}"
        )
    if bundle.precision != FP32 and bundle.precision not in QUANTISED:
        raise InputError(
            f"{bundle.path} was made of a {bundle.precision} graph; candidates are written from a float32 graph, or "
            "from one with 8-bit levels of its own"
        )
    own, opset = bundle.precision, bundle.opset
    modules = bundle.node_modules(own)
    graph = OnnxGraph(bundle.model_path, opset, bundle.inputs, bundle.outputs, modules, bundle.axes, precision=own)
    entry = bundle.precisions.get(precision)
    if entry is None:
        return Source(graph)
    return Source(graph, tuple(entry.get("keep_fp32", ())), bundle.io(precision), dict(entry.get("ranges", {})))
