"""Initialisers that onnxscript's rewriter replaces in a graph by others of the same name, and still has nodes read.

Two clamps of one value whose limits are tensors become Clips whose limits are both called after that value: of
``initializers[name] = initializer`` in onnxscript/rewriter/_rewrite_rule.py (0.7.2) the last one stays.
"""

from __future__ import annotations

import itertools

import onnx_ir as ir


def restore_initializers(model: ir.Model) -> None:
    """Put every constant that a node of the graph reads among its initialisers, under a name of its own."""
    graph = model.graph
    inputs = set(graph.inputs)
    taken = {value.name for node in graph for value in node.outputs} | {value.name for value in inputs}
    for value in dict.fromkeys(value for node in graph for value in node.inputs if value is not None):
        is_constant = value.producer() is None and value.const_value is not None and value not in inputs
        if not is_constant or (value.name and graph.initializers.get(value.name) is value):
            continue
        names = (f"{value.name}_{number}" for number in itertools.count(1))
        value.name = next(name for name in names if name not in taken and name not in graph.initializers)
        graph.register_initializer(value)
