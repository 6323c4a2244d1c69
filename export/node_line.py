"""The user's line that an ONNX node comes from, as torch.onnx noted it in the node's metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..modules.user_line import line_of_text

if TYPE_CHECKING:
    import onnx_ir as ir

TRACE = "pkg.torch.onnx.stack_trace"


def line_of_node(node: ir.Node) -> str:
    """Return the user's line of a node, else that of the nodes that it reads, nearest first; "" if none is known."""
    waiting, seen = [node], {id(node)}
    while waiting:
        current = waiting.pop(0)
        if line := line_of_text(current.metadata_props.get(TRACE, "")):
            return line
        for value in current.inputs:
            producer = None if value is None else value.producer()
            if producer is not None and id(producer) not in seen:
                seen.add(id(producer))
                waiting.append(producer)
    return ""


def at(line: str) -> str:
    """Return " at FILE:LINE" for a message, or nothing if no line is known."""
    return f" at {line}" if line else ""
