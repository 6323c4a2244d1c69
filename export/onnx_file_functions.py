"""The functions of an ONNX file, written out where they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.nodes import nodes
from ..errors import InputError
from .onnx_file_checks import OWN_DOMAINS, check

if TYPE_CHECKING:
    import onnx

Key = tuple[str, str]  # domain and name


def inlined(model: onnx.ModelProto, opset: int, shown: str) -> onnx.ModelProto:
    """Return the model without functions. The caller's own is changed on the way.

    ONNX's inliner leaves out the attributes that a call takes from the defaults of its function: they are written into
    the calls first, of outer functions before those inside, whose attributes may be theirs.

    Raises InputError for functions of which runtimes make something else.
    """
    from onnx import inliner

    _require_own_names(model, opset, shown)
    align_functions(model, opset, shown)
    check(model, shown)  # a body that reads a value of the graph would do so once it is written out
    while any(function.attribute_proto for function in model.functions):
        keys = {_key(function) for function in model.functions}
        inner = {_called(node) for function in model.functions for node in nodes(function)}
        _fill_calls(model)
        model = inliner.inline_selected_functions(model, sorted(keys - inner))
    return inliner.inline_local_functions(model)


def _fill_calls(model: onnx.ModelProto) -> None:
    """Write the defaults of functions into the calls of the graph that leave them out."""
    known = {(*_key(function), function.overload): function for function in model.functions}
    for node in nodes(model.graph):
        if (function := known.get((*_called(node), node.overload))) is not None:
            given = {attribute.name for attribute in node.attribute}
            node.attribute.extend(one for one in function.attribute_proto if one.name not in given)


def _require_own_names(model: onnx.ModelProto, opset: int, shown: str) -> None:
    """Raise InputError for a function that is called as an operator of ONNX: runtimes run their own operator."""
    import onnx

    for function in model.functions:
        if function.domain in OWN_DOMAINS and onnx.defs.has(function.name, opset, ""):
            raise InputError(
                f"received {shown}, whose function {function.name} has the name of an operator of ONNX, which runtimes "
                "run in its place; rename it, or give it a domain of its own"
            )


def _key(function: onnx.FunctionProto) -> Key:
    return function.domain, function.name


def _called(node: onnx.NodeProto) -> Key:
    return node.domain, node.op_type


def align_functions(model: onnx.ModelProto, opset: int, shown: str) -> None:
    """Give the functions of a file its own opset, which ONNX Runtime runs them at.

    Raises InputError for one whose operators its opset defines otherwise: ONNX allows no such function.
    """
    for function in model.functions:
        for entry in (entry for entry in function.opset_import if entry.domain in OWN_DOMAINS):
            others = {node.op_type for node in nodes(function) if not _is_same(node, entry.version, opset)}
            if others:
                name = f"{function.domain}::{function.name}"
                raise InputError(
                    f"received {shown} of opset {opset}, whose function {name} is of opset {entry.version}, in which "
                    f"{', '.join(sorted(others))} is defined otherwise, and runtimes take the file's; export it with "
                    "one opset"
                )
            entry.version = opset


def _is_same(node: onnx.NodeProto, *opsets: int) -> bool:
    """Return True if the node is the same operator in both opsets, or none of ONNX's."""
    import onnx

    if node.domain not in OWN_DOMAINS:
        return True
    try:
        versions = {onnx.defs.get_schema(node.op_type, opset, "").since_version for opset in opsets}
    except onnx.defs.SchemaError:
        return all(not onnx.defs.has(node.op_type, opset, "") for opset in opsets)
    return len(versions) == 1
