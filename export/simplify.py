"""Simplify a graph with onnxsim in a child process, and keep the original whenever the result breaks the contract.

onnxsim is native code that has crashed its process and turned dynamic dimensions static (onnxsim#136, #182, #231),
and it drops the metadata of every node; the map from node to PyTorch module is carried across by tensor names.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.graph import EXTERNAL_DATA_BYTES, OnnxGraph
from ..core.memory import is_shortage
from ..core.worker import Worker
from ..errors import CheckFailed, Interrupted
from .contract import check_contract
from .merged import Wiring, merged_modules, others_than

if TYPE_CHECKING:
    import onnx

TIMEOUT_SECONDS = 900
# Words in the last line of a child that failed because of the machine, beside a lack of memory.
_SHORTAGES = ("No space left", "Disk quota")


class Simplifier:
    """Run onnxsim once in a process that starts as soon as this is entered: to import it takes as long as to simplify.

    ``was_interrupted`` is True if it was killed, ran out of time or lacked memory or disk: another run may succeed.
    """

    was_interrupted = False

    def __enter__(self) -> Simplifier:
        self._worker = Worker("export.simplify_child", who="onnxsim", seconds=TIMEOUT_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__(None, None, None)

    def simplify(self, graph: OnnxGraph, path: Path) -> tuple[OnnxGraph, str]:
        """Write the simplified ``graph`` to ``path``; returns the graph to go on with and why it is not that one.

        The reason is empty if simplification worked; otherwise the graph that came in is returned.
        """
        if sum(file.stat().st_size for file in graph.files) > EXTERNAL_DATA_BYTES:
            return graph, "its weights lie beside the graph, above what onnxsim rewrites in one file"
        reason = self._run(graph.path, path)
        if reason:
            return graph, reason
        try:
            simplified = replace(graph, path=path)
            check_contract(
                simplified, opset=graph.opset, inputs=graph.inputs, outputs=graph.outputs, after="simplification"
            )
        except CheckFailed as error:
            return graph, str(error)
        return _carry_modules(graph, path), ""

    def _run(self, source: Path, destination: Path) -> str:
        """Run onnxsim; returns why it failed, or nothing."""
        if find_spec("onnxsim") is None:
            return "onnxsim is not installed; pip install onnxsim"
        worker = self._worker
        worker.tell({"source": str(source), "destination": str(destination)})
        try:
            worker.answer("simplifying")
        except Interrupted:
            code = worker.exit_code
            lacked = is_shortage(worker.output) or any(words in worker.output for words in _SHORTAGES)
            self.was_interrupted = code is None or code < 0 or lacked
            return f"onnxsim {worker.how}"
        return "" if destination.exists() else "onnxsim wrote nothing"


def simplify(graph: OnnxGraph, path: Path) -> tuple[OnnxGraph, str]:
    """``Simplifier.simplify`` in a process that starts now."""
    with Simplifier() as simplifier:
        return simplifier.simplify(graph, path)


def _carry_modules(graph: OnnxGraph, path: Path) -> OnnxGraph:
    """Return the simplified graph in ``path``, with the modules of its nodes.

    A node's module goes by its output tensor, else by the weights that one module alone reads, its own or those of the
    one node that reads its output, as of a Reshape before a Gemm, else by what it reads. If it stands for several
    nodes, the modules of all of them are known.
    """
    import onnx

    before = onnx.load(str(graph.path), load_external_data=False)
    by_tensor = {
        name: graph.modules[node.name]
        for node in before.graph.node
        if node.name in graph.modules
        for name in node.output
    }
    paths_of: dict[str, set[str | None]] = {tensor.name: set() for tensor in before.graph.initializer}
    for node in before.graph.node:
        for name in set(node.input) & paths_of.keys():
            paths_of[name].add(graph.modules.get(node.name))
    alone = {name: next(iter(paths)) for name, paths in paths_of.items() if len(paths) == 1}
    by_weight = {name: path for name, path in alone.items() if path is not None}
    after = onnx.load(str(path), load_external_data=False)
    if any(not node.name for node in after.graph.node):
        for position, node in enumerate(after.graph.node):
            node.name = node.name or f"{node.op_type}_{position}"
        onnx.save(after, str(path))
    read_by: dict[str, list[onnx.NodeProto]] = {}
    for node in after.graph.node:
        for name in node.input:
            read_by.setdefault(name, []).append(node)
    modules: dict[str, str] = {}
    for node in after.graph.node:
        only_readers = [readers[0] for name in node.output if len(readers := read_by.get(name, [])) == 1]
        known = [by_tensor[name] for name in node.output if name in by_tensor]
        known += [by_weight[name] for one in (node, *only_readers) for name in one.input if name in by_weight]
        known += [by_tensor[name] for name in node.input if name in by_tensor]
        if known:
            modules[node.name] = known[0]
            by_tensor.update(dict.fromkeys(node.output, known[0]))
    came_from = {node.name: graph.modules_of(node.name) for node in before.graph.node}
    merged = merged_modules(_wiring(before), _wiring(after), came_from)
    kept = {node.name: came_from.get(node.name, ()) for node in after.graph.node}
    return replace(graph, path=path, modules=modules, merged=others_than(modules, {**kept, **merged}))


def _wiring(model: onnx.ModelProto) -> list[Wiring]:
    return [Wiring(node.name, node.op_type, tuple(node.input), tuple(node.output)) for node in model.graph.node]
