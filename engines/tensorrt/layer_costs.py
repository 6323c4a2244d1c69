"""The cost of each layer of a plan: its time by TensorRT's profiler, its bytes, and the modules that it computes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...core.module_path import is_part, is_part_of_any
from ...core.part_bytes import GraphBytes
from ...core.traffic import Tensor
from ..node_times import NodeTimes
from .layer_tensors import LayerTensor, element_bytes
from .layers import Layer

Place = Literal["block", "shared", "rest"]
# It gives a tensor another name: nothing runs, and the profiler reports no time, or none at all.
NOTHING = "NoOp"
# Their output has as many elements as their input.
_COPIES = frozenset({NOTHING, "Reformat"})
_OUT = "_out_tensor"


@dataclass(frozen=True)
class LayerCost:
    """One layer of a plan as it ran.

    Attributes:
        name: The layer's name; it joins the nodes that it computes.
        kind: Its type; "" if only the profiler knows it.
        kernel: The kernel's name; "" if the inspector has none.
        precision: The precisions that it computes in, joined by a plus sign; "" if nothing says it.
        reads: The type and format of each tensor that it reads; "" for one that is left open.
        writes: The same of each that it writes.
        ms: The median of its time; None if the profiler reports none. Layers that do nothing have 0, or none.
        bytes: What it must read and write, weights included; None if a size or a type is unknown.
        is_assumed: Some of that is the graph's sizes and types, since the inspector leaves them open.
        modules: The paths of the PyTorch modules whose nodes it computes.
        place: In a block, shared by a block and the rest, or no part of a block.
        block: The path of the first block that it is in, or shares; None if it is in none.
    """

    name: str
    kind: str
    kernel: str
    precision: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    ms: float | None
    bytes: int | None
    is_assumed: bool
    modules: tuple[str, ...]
    place: Place
    block: str | None


@dataclass(frozen=True)
class Origin:
    """The graph that a plan was made of.

    Attributes:
        graph: Its graph, at the sizes that it ran at.
        modules: The path of the PyTorch module of each node.
        blocks: The paths of the blocks.
    """

    graph: GraphBytes
    modules: Mapping[str, str]
    blocks: Sequence[str]


def layer_costs(layers: Iterable[Layer], times: NodeTimes, origin: Origin) -> tuple[LayerCost, ...]:
    """Return the layers in the inspector's order, then those that only the profiler reports."""
    listed, medians = list(layers), _medians(times)
    sizes = _Sizes(listed, origin.graph)
    seen: Counter[str] = Counter()
    found = []
    for entry in listed:
        ms = medians.pop((entry.name, seen[entry.name]), None)
        seen[entry.name] += 1
        found.append(_cost(entry, ms, origin, sizes))
    left = (
        _cost(Layer(name, "", frozenset(), frozenset(), "", "", weight_bytes=None), ms, origin, sizes)
        for (name, _), ms in medians.items()
    )
    return (*found, *left)


class _Sizes:
    """The bytes of the layers' tensors, from the graph where the inspector leaves them open."""

    def __init__(self, layers: Iterable[Layer], graph: GraphBytes) -> None:
        self._graph = graph
        self._copied = {
            entry.writes[0].name: entry.reads[0].name
            for entry in layers
            if entry.kind in _COPIES and len(entry.reads) == len(entry.writes) == 1
        }

    def moved(self, entry: Layer) -> tuple[int | None, bool]:
        """Return the bytes that a layer moves, None if unknown, and if some of them are assumed from the graph."""
        if entry.kind == NOTHING:
            return 0, False
        total, is_assumed = entry.weight_bytes, False
        if total is None or not (entry.reads or entry.writes):
            return None, False
        for value in {one.name: one for one in (*entry.reads, *entry.writes)}.values():
            size = value.bytes
            if size is None:
                size, is_assumed = self._assumed(value), True
            if size is None:
                return None, False
            total += size
        return total, is_assumed

    def _assumed(self, value: LayerTensor) -> int | None:
        """Return the bytes of the graph's tensor that this one is, in the layer's type if that is known."""
        name, seen = value.name, set[str]()
        while (found := self._of_graph(name)) is None and name in self._copied and name not in seen:
            seen.add(name)
            name = self._copied[name]
        size = element_bytes(value.form)
        if found is None:
            return None
        return found.bytes if size is None else math.ceil(found.elements * size)

    def _of_graph(self, name: str) -> Tensor | None:
        """Return the graph's tensor of that name; a fused layer's output bears the name of its last node."""
        made = self._graph.outputs(name.removesuffix(_OUT)) if name.endswith(_OUT) else ()
        return self._graph.tensors.get(made[0] if len(made) == 1 else name)


def _medians(times: NodeTimes) -> dict[tuple[str, int], float]:
    """Return the median of each layer in milliseconds, by its name and its number among those of that name."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], float] = {}
    for name, column in zip(times.names, times.microseconds.T, strict=True):
        found[name, seen[name]] = float(np.median(column)) / 1e3
        seen[name] += 1
    return found


def _cost(entry: Layer, ms: float | None, origin: Origin, sizes: _Sizes) -> LayerCost:
    modules = tuple(dict.fromkeys(_modules(entry, origin)))
    place, block = _place(modules, origin.blocks)
    size, is_assumed = sizes.moved(entry)
    return LayerCost(
        name=entry.name,
        kind=entry.kind,
        kernel=entry.tactic,
        precision="+".join(sorted(entry.computes)),
        reads=tuple(value.form for value in entry.reads),
        writes=tuple(value.form for value in entry.writes),
        ms=ms,
        bytes=size,
        is_assumed=is_assumed,
        modules=modules,
        place=place,
        block=block,
    )


def _modules(entry: Layer, origin: Origin) -> Iterator[str]:
    """Yield the module of each node of a layer; of a copy, which is none, that of the tensor's maker."""
    nodes = [name for name in origin.modules if name in entry.names]
    if not nodes:
        makers = (origin.graph.maker(tensor) for tensor in sorted(entry.names))
        nodes = [maker for maker in makers if maker is not None and maker in origin.modules]
    yield from (origin.modules[name] for name in nodes)


def _place(modules: Sequence[str], blocks: Sequence[str]) -> tuple[Place, str | None]:
    """Return the place of a layer that computes these modules, and the block that it belongs to."""
    if "" in blocks:
        return "block", ""
    inside = [path for path in modules if is_part_of_any(path, blocks)]
    if not inside:
        return "rest", None
    block = next(block for block in blocks if is_part(inside[0], block))
    return ("block" if len(inside) == len(modules) else "shared"), block
