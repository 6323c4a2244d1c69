"""Keep a node's module and line of code through the exporter's own optimisation, on what is written in its place.

The constant folding of onnxscript writes nodes without metadata: the Split that ``torch.chunk`` becomes, the Unsqueeze
and the Concat of ``torch.stack``. Such a node had no module, and what is wrong in it was nobody's. Folding and rewrite
rules both put their nodes in place by one function of onnx-ir, which is watched here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir

from ..node_line import TRACE

SCOPES = "pkg.torch.onnx.name_scopes"


@contextmanager
def replaced_metadata() -> Iterator[None]:
    """While active, nodes that take the place of others belong to the module of the first of these that has one."""
    convenience: Any = ir.convenience
    replace = convenience.replace_nodes_and_values

    def replace_and_keep(
        graph: Any, at: ir.Node, old: Sequence[ir.Node], new: Sequence[ir.Node], *values: Sequence[ir.Value]
    ) -> None:
        replace(graph, at, old, new, *values)
        noted = next((node.metadata_props for node in old if SCOPES in node.metadata_props), {})
        for node in new:
            if SCOPES not in node.metadata_props:
                node.metadata_props.update({key: noted[key] for key in (SCOPES, TRACE) if key in noted})

    convenience.replace_nodes_and_values = replace_and_keep
    try:
        yield
    finally:
        convenience.replace_nodes_and_values = replace
