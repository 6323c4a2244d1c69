"""Bytes that a part of a graph must move, whatever is fused inside of it: each tensor at its border once.

A tensor that is only another view of a second one, or the same numbers in another type, is that one: whoever runs the
part may read either, so that the smaller one counts. A weight that a quantisation node reads counts as 8-bit integers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .traffic import VIEWS, Tensor, tensors_at

if TYPE_CHECKING:
    import onnx

CONVERSIONS = frozenset({"Cast", "CastLike", "DequantizeLinear", "QuantizeLinear"})
_SAME = VIEWS - {"Constant", "Shape", "Size"} | CONVERSIONS


@dataclass(frozen=True)
class _Node:
    """A node without what its protobuf message needs to stay alive."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class GraphBytes:
    """A graph at concrete sizes, whose parts can be asked for the bytes that they must move.

    Args:
        model: The graph; its value infos are replaced by those at the given sizes.
        sizes: The size of every dynamic axis.
    """

    def __init__(self, model: onnx.ModelProto, sizes: Mapping[str, int]) -> None:
        self.tensors: Mapping[str, Tensor] = tensors_at(model, sizes)
        graph = model.graph
        self._weights = {entry.name for entry in graph.initializer}
        nodes = [_Node(node.name, node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node]
        self._nodes = {node.name: node for node in nodes}
        self._makers = {name: node for node in nodes for name in node.outputs if name}
        self._readers: dict[str, list[_Node]] = {}
        for node in nodes:
            for name in filter(None, node.inputs):
                self._readers.setdefault(name, []).append(node)
        self._ends = {value.name for value in graph.output}

    @classmethod
    def of_file(cls, path: Path, sizes: Mapping[str, int]) -> GraphBytes:
        """Read a graph's file; weights that lie beside it are not read."""
        import onnx

        return cls(onnx.load(str(path), load_external_data=False), sizes)

    @property
    def nodes(self) -> Collection[str]:
        """Return the names of all nodes."""
        return self._nodes.keys()

    def maker(self, tensor: str) -> str | None:
        """Return the name of the node that makes a tensor; None for an input, a weight, and what is none."""
        found = self._makers.get(tensor)
        return None if found is None else found.name

    def outputs(self, node: str) -> tuple[str, ...]:
        """Return what the node of this name makes; empty if there is none."""
        found = self._nodes.get(node)
        return () if found is None else found.outputs

    def least(self, part: Collection[str]) -> int | None:
        """Return the bytes that the nodes of these names must read and write.

        They are the weights of the part, what it reads of the rest of the graph, and what the rest or the graph's
        outputs read of it. None if the size of one of these tensors is unknown.
        """
        inside = {name for name in part if name in self._nodes}
        moved = {**self._read(inside), **self._written(inside)}
        sizes = list(moved.values())
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def _read(self, inside: Collection[str]) -> dict[str, int | None]:
        """Return the bytes of each different tensor that comes from outside."""
        found: dict[str, int | None] = {}
        for node in (self._nodes[name] for name in inside):
            for name in filter(None, node.inputs):
                maker = self._makers.get(name)
                if maker is not None and maker.name in inside:
                    continue
                chain = list(self._chain(name, lambda maker: maker.name not in inside))
                forms = chain if chain[-1] not in self._weights else [*chain, *self._narrowed(chain[-1])]
                found[chain[-1]] = _least(found.get(chain[-1], self._bytes(name)), *map(self._bytes, forms))
        return found

    def _written(self, inside: Collection[str]) -> dict[str, int | None]:
        """Return the bytes of each different tensor that somebody outside reads."""
        found: dict[str, int | None] = {}
        for name in (name for node in inside for name in self._nodes[node].outputs if name):
            if name in self._ends:
                # the graph's outputs have their type
                found[f"output {name}"] = self._bytes(name)
            elif any(reader.name not in inside for reader in self._readers.get(name, ())):
                chain = list(self._chain(name, lambda maker: maker.name in inside))
                found[chain[-1]] = _least(found.get(chain[-1], self._bytes(name)), self._bytes(name))
        return found

    def _chain(self, name: str, follows: Callable[[_Node], bool]) -> Iterator[str]:
        """Yield a tensor, and the ones that it has its numbers from as long as only view or type changes."""
        yield name
        while (maker := self._makers.get(name)) is not None and maker.kind in _SAME and follows(maker):
            name = maker.inputs[0]
            yield name

    def _narrowed(self, weight: str) -> Iterator[str]:
        """Yield the forms of a weight that a builder can keep instead, since nothing else reads it."""
        readers = self._readers.get(weight, [])
        if readers and all(reader.kind in CONVERSIONS and reader.inputs[0] == weight for reader in readers):
            yield from (reader.outputs[0] for reader in readers)

    def _bytes(self, name: str) -> int | None:
        found = self.tensors.get(name)
        return None if found is None else found.bytes


def _least(*sizes: int | None) -> int | None:
    """Return the smallest size; None if one is unknown."""
    known = [size for size in sizes if size is not None]
    return min(known) if len(known) == len(sizes) else None
