"""The wiring of a model: where every value comes from, nodes of our own looked through."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx


class Wiring:
    """The origin of every value, and the numbers of the constants.

    ``passed_through`` (operator: how its name begins) are nodes of our own, looked through to their first input.
    """

    def __init__(self, model: onnx.ModelProto, passed_through: Mapping[str, str]) -> None:
        from onnx import numpy_helper

        self.nodes: dict[str, onnx.NodeProto] = {}
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
        self._from: dict[str, tuple[str, int]] = {}
        self._through: dict[str, str] = {}
        self._to_array = numpy_helper.to_array
        for node in model.graph.node:
            if node.op_type in passed_through and node.name.startswith(passed_through[node.op_type]):
                self._through[node.output[0]] = node.input[0]
            elif node.op_type == "Constant" and any(attribute.name == "value" for attribute in node.attribute):
                self.constants[node.output[0]] = node.attribute[0].t
            else:
                self.nodes[node.name] = node
                self._from |= {name: (node.name, index) for index, name in enumerate(node.output)}

    def origin(self, name: str) -> tuple[str, int]:
        """(node, which of its outputs), or (name of a graph input, -1)."""
        name = self._looked_through(name)
        return self._from.get(name, (name, -1))

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        """The numbers of a constant; None of what is computed."""
        found = self.constants.get(self._looked_through(name))
        return None if found is None else np.asarray(self._to_array(found))

    def source(self, name: str) -> str:
        """Name what a body reads from outside of it, alike in two models that compute it alike."""
        value = self.constant(name)
        if value is None:
            return f"{self.origin(name)}"
        return f"{value.dtype} {value.shape} {hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()}"

    def _looked_through(self, name: str) -> str:
        while name in self._through:
            name = self._through[name]
        return name
