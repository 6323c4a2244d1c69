"""A graph seen as PyTorch's modules: which values enter and leave a module, shown, cut out and followed back.

Works on a private copy whose weights lie in a file, so that a variant with other outputs costs kilobytes. No PyTorch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from ..core.module_path import is_part
from ..core.nodes import bodies
from ..core.scratch import scratch
from .arrays import Array, Arrays

if TYPE_CHECKING:
    import onnx

WEIGHTS = "weights.bin"


class Session(Protocol):
    """A loaded graph that answers with arrays by name; engines.runtime.Runtime is one."""

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name."""
        ...


Opener = Callable[[Path], Session]


def ort_opener(*, optimise: bool) -> Opener:
    """ONNX Runtime on the CPU, with production's optimisations or as the graph is written."""
    from ..engines.ort_runtime import OrtRuntime

    return lambda path: OrtRuntime(path, optimise=optimise)


@dataclass(frozen=True)
class Node:
    """One node; ``inputs`` and ``outputs`` without constants and unused places, ``module`` without call numbers."""

    name: str
    op_type: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    position: int


class GraphView:
    """A graph file and its node → module map. Use it in a ``with`` statement: it keeps a folder with a copy."""

    def __init__(self, path: Path, modules: Mapping[str, str]) -> None:
        self._path = path
        self._modules = modules

    def __enter__(self) -> GraphView:
        import onnx

        self._scratch = scratch("locate")
        self.folder = self._scratch.__enter__()
        whole = self.folder / "whole.onnx"
        onnx.save_model(
            onnx.load(str(self._path)), str(whole), save_as_external_data=True, location=WEIGHTS, size_threshold=1024
        )
        self.model = onnx.load(str(whole), load_external_data=False)
        self._variants = 0
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.__exit__(None, None, None)

    def _read(self) -> None:
        graph = self.model.graph
        constants = {tensor.name for tensor in graph.initializer}
        constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
        self.inputs = tuple(value.name for value in graph.input if value.name not in constants)
        self.outputs = tuple(value.name for value in graph.output)
        self.nodes = tuple(
            Node(
                node.name,
                node.op_type,
                plain_path(self._modules.get(node.name, "")),
                tuple(name for name in (*node.input, *_implicit(node)) if name and name not in constants),
                tuple(name for name in node.output if name),
                position,
            )
            for position, node in enumerate(graph.node)
            if node.op_type != "Constant"
        )
        self.producer = {name: node for node in self.nodes for name in node.outputs}
        self.consumers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                self.consumers.setdefault(name, []).append(node)
        self._kinds = _kinds(self.model)

    def is_float(self, value: str) -> bool:
        """Return True if a value carries numbers to compare; sizes and indices do not. Unknown counts as yes."""
        return self._kinds.get(value, (True, None))[0]

    def may_be(self, value: str, shape: tuple[int, ...]) -> bool:
        """Return True if a value may have this shape, as far as the graph tells."""
        dims = self._kinds.get(value, (True, None))[1]
        return dims is None or (
            len(dims) == len(shape) and all(dim in (0, size) for dim, size in zip(dims, shape, strict=True))
        )

    def elements(self, value: str, unknown: int) -> int:
        """Return how many numbers a value holds, with ``unknown`` for every size that the graph leaves open."""
        dims = self._kinds.get(value, (True, None))[1]
        return math.prod(dim or unknown for dim in dims) if dims is not None else unknown

    def floats(self, values: Iterable[str]) -> list[str]:
        return [value for value in values if self.is_float(value)]

    def inside(self, path: str) -> list[Node]:
        """The nodes of a module and of all below it."""
        return [node for node in self.nodes if is_part(node.module, path)]

    def entering(self, path: str) -> list[str]:
        """Values that a module reads from outside of it, in the order of use."""
        nodes = self.inside(path)
        made = {name for node in nodes for name in node.outputs}
        return self.floats(dict.fromkeys(name for node in nodes for name in node.inputs if name not in made))

    def leaving(self, path: str) -> list[str]:
        """Values that a module makes and that are read outside of it, in the graph's order."""
        return self.floats(
            name
            for node in self.inside(path)
            for name in node.outputs
            if name in self.outputs or any(not is_part(user.module, path) for user in self.consumers.get(name, ()))
        )

    def cleared(self, right: Collection[str]) -> set[str]:
        """``right``, and every value whose float uses all end in cleared values: an error in it would have shown."""
        found = set(right)
        for node in reversed(self.nodes):
            for name in node.outputs:
                users = [self.floats(user.outputs) for user in self.consumers.get(name, ())]
                shown = [user for user in users if user]
                if name not in self.outputs and all(found.issuperset(user) for user in shown):
                    found.add(name)
        return found

    def back(self, values: Iterable[str], stop: Collection[str]) -> list[Node]:
        """The nodes that ``values`` come from, followed back through floats to ``stop``, in the graph's order."""
        waiting, found = [value for value in values if value not in stop], dict[int, Node]()
        while waiting:
            node = self.producer.get(waiting.pop())
            if node is None or node.position in found:
                continue
            found[node.position] = node
            waiting += [name for name in self.floats(node.inputs) if name not in stop]
        return [found[position] for position in sorted(found)]

    def with_sizes(self, nodes: Sequence[Node]) -> list[Node]:
        """``nodes`` and what computes the sizes and indices that they read."""
        kept = {node.position: node for node in nodes}
        waiting = list(nodes)
        while waiting:
            for name in waiting.pop().inputs:
                node = self.producer.get(name)
                if node is not None and not self.is_float(name) and node.position not in kept:
                    kept[node.position] = node
                    waiting.append(node)
        return [kept[position] for position in sorted(kept)]

    def shorten(self, node: Node) -> None:
        """Keep what ``node`` reads from and drop the rest; the floats that it reads become the outputs."""
        kept: set[int] = set()
        waiting = list(node.inputs)
        while waiting:
            maker = self.producer.get(waiting.pop())
            if maker is not None and maker.position not in kept:
                kept.add(maker.position)
                waiting += maker.inputs
        graph = self.model.graph
        nodes = [part for position, part in enumerate(graph.node) if position in kept or part.op_type == "Constant"]
        outputs = [_untyped(name) for name in self.floats(node.inputs) if name in self.producer]
        del graph.node[:], graph.output[:]
        graph.node.extend(nodes)
        graph.output.extend(outputs)
        self._read()

    def shown(self, values: Iterable[str]) -> Path:
        """The graph with ``values`` as further outputs, as a file beside its weights."""
        model = self._copy()
        known = {output.name for output in model.graph.output}
        model.graph.output.extend(_untyped(name) for name in dict.fromkeys(values) if name not in known)
        return self._write(model)

    def cut(self, nodes: Sequence[Node], feeds: Mapping[str, Array], outputs: Iterable[str]) -> Path:
        """``nodes`` alone as a graph whose inputs are named and typed as ``feeds``."""
        from onnx import helper

        model = self._copy()
        kept = {node.position for node in nodes}
        positions = [p for p, node in enumerate(model.graph.node) if p in kept or node.op_type == "Constant"]
        remaining = [model.graph.node[position] for position in positions]
        read = {name for node in remaining for name in (*node.input, *_implicit(node))}
        weights = [tensor for tensor in model.graph.initializer if tensor.name in read]
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
            for name, array in feeds.items()
        ]
        graph = helper.make_graph(remaining, "cut", inputs, [_untyped(name) for name in outputs], weights)
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.CopyFrom(graph)
        return self._write(model)

    def exchanged(self, node: Node, first: str, second: str) -> Path:
        """The graph in which two outputs of a node have each other's names."""
        model = self._copy()
        names = model.graph.node[node.position].output
        names[:] = [{first: second, second: first}.get(name, name) for name in names]
        return self._write(model)

    def values_at(self, opener: Opener, feeds: Arrays, values: Iterable[str]) -> Arrays:
        """Run the whole graph with ``values`` shown; the graph's own outputs come with them."""
        path = self.shown(values)
        try:
            with opener(path) as session:
                return session.run(feeds)
        finally:
            path.unlink()

    def _copy(self) -> onnx.ModelProto:
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return model

    def _write(self, model: onnx.ModelProto) -> Path:
        self._variants += 1
        path = self.folder / f"variant-{self._variants}.onnx"
        path.write_bytes(model.SerializeToString())
        return path


def plain_path(path: str) -> str:
    """A module's path without the number that torch.export gives to a repeated call (``act@1``)."""
    return re.sub(r"@\d+", "", path)


def _implicit(node: onnx.NodeProto) -> Iterator[str]:
    """Values of the outer graph that the bodies of If, Loop and Scan read."""
    for body in bodies(node):
        made = {name for inner in body.node for name in inner.output} | {value.name for value in body.input}
        made |= {tensor.name for tensor in body.initializer}
        for inner in body.node:
            yield from (name for name in (*inner.input, *_implicit(inner)) if name not in made)


def _kinds(model: onnx.ModelProto) -> dict[str, tuple[bool, tuple[int, ...] | None]]:
    """Return for every value: is it a float, and its sizes, 0 for one that is not fixed; None without a known rank."""
    import onnx

    kinds = onnx.TensorProto
    floats = {kinds.FLOAT, kinds.DOUBLE, kinds.FLOAT16, kinds.BFLOAT16, kinds.UNDEFINED}
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type
        dims = tuple(dim.dim_value for dim in kind.shape.dim) if kind.HasField("shape") else None
        found[value.name] = (kind.elem_type in floats, dims)
    return found


def _untyped(name: str) -> onnx.ValueInfoProto:
    import onnx

    value = onnx.ValueInfoProto()
    value.name = name
    return value
