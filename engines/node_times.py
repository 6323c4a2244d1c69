"""The time of each node of ONNX Runtime's optimised graph, read from its profile, and the module that it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_SUFFIX = "_kernel_time"
_NCHWC = "_nchwc"
# They bring a tensor into the layout, or the type, that the next operator is fastest in: of ONNX Runtime, of TensorRT.
LAYOUT = frozenset({"ReorderInput", "ReorderOutput", "Reformat", "MyelinReformat"})


@dataclass(frozen=True)
class NodeTimes:
    """``microseconds`` is (calls, nodes), in the order of ``names``; ``kinds`` are the operators' types.

    ONNX Runtime counts whole microseconds, rounded down.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    microseconds: npt.NDArray[np.float32]


def read_node_times(path: Path) -> NodeTimes:
    """A profile that ONNX Runtime wrote: the nodes of every complete call."""
    kinds: dict[str, str] = {}
    calls: list[dict[str, float]] = []
    running: dict[str, float] = {}
    for event in json.loads(path.read_text(encoding="utf-8")):
        if event["cat"] == "Node" and event["name"].endswith(_SUFFIX):
            name = event["name"].removesuffix(_SUFFIX)
            kinds.setdefault(name, event["args"].get("op_name", ""))
            running[name] = running.get(name, 0.0) + event["dur"]
        elif event["name"] == "model_run":
            calls.append(running)
            running = {}
    found = np.array([[call.get(name, 0.0) for name in kinds] for call in calls], np.float32)
    return NodeTimes(tuple(kinds), tuple(kinds.values()), found.reshape(len(calls), len(kinds)))


def node_homes(graph: Path, optimised: Path, modules: Mapping[str, str]) -> dict[str, str]:
    """Return the module path of every node of the ``optimised`` graph whose module is known, by name.

    ``modules`` says it of the nodes of ``graph``. A fused node keeps the name of the last tensor that it stands for,
    as its output or in its own name; a new node belongs to the module that made what it reads, else to the one that
    reads what it makes.
    """
    import onnx

    before: Any = onnx.load(str(graph), load_external_data=False).graph
    after: Any = onnx.load(str(optimised), load_external_data=False).graph
    made = {name: modules[node.name] for node in before.node if node.name in modules for name in node.output}
    homes: dict[str, str] = {}
    for node in after.node:
        known = [made[name] for name in (*node.output, node.name.removesuffix(_NCHWC), *node.input) if name in made]
        if known:
            homes[node.name] = known[0]
            made.update({name: known[0] for name in node.output if name not in made})
    readers = {name: homes[node.name] for node in reversed(after.node) if node.name in homes for name in node.input}
    for node in after.node:
        known = [readers[name] for name in node.output if name in readers]
        if known:
            homes.setdefault(node.name, known[0])
    return homes
