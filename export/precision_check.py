"""Proof that a half-precision graph on disk is the float32 graph but for its dtypes.

The file is read back and compared by other means than those that wrote it. It has the same nodes in the same order with
the same attributes, and the same wiring once casts are looked through. Every constant is the float32 one, rounded if it
is read in half precision. Every operator is in the precision that the policy gives it, by shape inference; 8-bit levels
of the graph's own are the same integers (own_levels_check.py). A cast that
was dropped, a changed weight, an operator that lost its float32 is found here, whatever its effect on the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..core.operators import SIZES_ALONE
from ..core.precision import PRECISIONS
from ..errors import CheckFailed
from .own_levels_check import no_cast_before_products, with_own_levels
from .wiring import Wiring

if TYPE_CHECKING:
    import onnx

CAST = "cast_to_"


def check_precision(source: onnx.ModelProto, path: Path, low_nodes: frozenset[str], precision: str) -> None:
    """Raise CheckFailed for the first difference between the graph at ``path`` and ``source`` that is not a cast.

    ``low_nodes`` names the nodes that compute in ``precision``; all others compute in float32.
    """
    import onnx

    written = onnx.load(str(path))
    before, after = Wiring(source, {}), Wiring(written, {"Cast": CAST})
    undone = with_own_levels(source, written, path)
    same_graph(source, undone, before, Wiring(undone, {"Cast": CAST}), path)
    no_cast_before_products(before, written, path)
    right_dtypes(source, written, after, low_nodes, precision, path)
    no_needless_cast(written, precision, path)


def same_graph(source: onnx.ModelProto, written: onnx.ModelProto, before: Wiring, after: Wiring, path: Path) -> None:
    """Raise CheckFailed for the first difference between two models in nodes, attributes, wiring or constants, what
    ``after`` looks through left out."""
    _same_nodes(before, after, path)
    for node in source.graph.node:
        _same_operands(node.name, before, after, path)
    for old, new in zip(source.graph.output, written.graph.output, strict=True):
        if before.origin(old.name) != after.origin(new.name):
            _fail(path, f"output {old.name} comes from {after.origin(new.name)} instead of {before.origin(old.name)}")


def _fail(path: Path, what: str) -> NoReturn:
    wrong = f"{path.name} differs from the float32 graph in more than its precision"
    raise CheckFailed(f"{wrong}: {what}; it was discarded")


def _same_nodes(before: Wiring, after: Wiring, path: Path) -> None:
    if [*before.nodes] != [*after.nodes]:
        missing, added = before.nodes.keys() - after.nodes.keys(), after.nodes.keys() - before.nodes.keys()
        detail = f"missing {sorted(missing)[:3]}, added {sorted(added)[:3]}" if missing or added else "another order"
        _fail(path, f"its nodes differ ({detail})")
    for name, node in before.nodes.items():
        other = after.nodes[name]
        if node.op_type != other.op_type or _attributes(node, before) != _attributes(other, after):
            _fail(path, f"node {name} ({node.op_type}) is {other.op_type} or has other attributes")


def _attributes(node: onnx.NodeProto, wiring: Wiring) -> dict[str, bytes]:
    # a tensor's own name and a string of documentation say nothing about what it computes
    return {one.name: _bare(one, wiring).SerializeToString(deterministic=True) for one in node.attribute}


def _bare(attribute: onnx.AttributeProto, wiring: Wiring, inside: frozenset[str] = frozenset()) -> onnx.AttributeProto:
    """Return an attribute without what was inferred about the values of a body, as the nodes and inputs tell it.

    What a body reads that is not ``inside`` of it or of a body around it is named by where it comes from.
    """
    found = type(attribute)()
    found.CopyFrom(attribute)
    for graph in (*([found.g] if found.HasField("g") else []), *found.graphs):
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            if value.type.WhichOneof("value") is None:  # as good as no type
                value.ClearField("type")
        own = {value.name for value in (*graph.input, *graph.initializer)}
        known = inside | own | {name for node in graph.node for name in node.output}
        for node in graph.node:
            bare = [_bare(inner, wiring, known) for inner in node.attribute]
            del node.attribute[:]
            node.attribute.extend(bare)
            node.input[:] = [name if not name or name in known else wiring.source(name) for name in node.input]
    return found


def _same_operands(name: str, before: Wiring, after: Wiring, path: Path) -> None:
    if name not in before.nodes:
        return
    old, new = before.nodes[name], after.nodes[name]
    if len(old.input) != len(new.input):
        _fail(path, f"node {name} has {len(new.input)} inputs instead of {len(old.input)}")
    for index, (was, now) in enumerate(zip(old.input, new.input, strict=True)):
        wanted, found = before.constant(was), after.constant(now)
        if wanted is None or found is None:
            if wanted is not found or before.origin(was) != after.origin(now):
                _fail(path, f"input {index} of node {name} comes from {now} instead of {was}")
        elif not _is_rounded(wanted, found):
            _fail(path, f"constant {now} of node {name} is not {was} rounded to {found.dtype}")


def _is_rounded(wanted: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        rounded = wanted if wanted.dtype == found.dtype else wanted.astype(found.dtype)
    return wanted.shape == found.shape and rounded.tobytes() == found.tobytes()


def no_needless_cast(model: onnx.ModelProto, precision: str, path: Path) -> None:
    """Raise CheckFailed for a cast of ours to a third type, or of what another cast of ours made.

    Such a cast rounds again, or reads and writes a whole tensor for nothing.
    """
    from onnx import TensorProto

    casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast" and node.name.startswith(CAST)}
    types = {TensorProto.DataType.Value(PRECISIONS[precision].onnx_type), TensorProto.FLOAT}
    for node in casts.values():
        to = next(attribute.i for attribute in node.attribute if attribute.name == "to")
        if to not in types:
            _fail(path, f"{node.name} casts to {TensorProto.DataType.Name(to).lower()}")
        if node.input[0] in casts:
            _fail(path, f"{node.name} casts what {casts[node.input[0]].name} cast before")


def right_dtypes(
    source: onnx.ModelProto,
    model: onnx.ModelProto,
    after: Wiring,
    low_nodes: frozenset[str],
    precision: str,
    path: Path,
) -> None:
    from onnx import TensorProto

    low = TensorProto.DataType.Value(PRECISIONS[precision].onnx_type)
    dtypes = _inferred(model)
    # the module's own: an input that it takes in half precision
    for name in [name for name, dtype in _inferred(source).items() if dtype == low]:
        dtypes.pop(name, None)
    for name, node in after.nodes.items():
        if node.op_type in SIZES_ALONE:
            continue
        wanted = low if name in low_nodes else TensorProto.FLOAT
        for value in _judged(node):
            if dtypes.get(value) in (low, TensorProto.FLOAT) and dtypes[value] != wanted:
                found = TensorProto.DataType.Name(dtypes[value]).lower()
                right = TensorProto.DataType.Name(wanted).lower()
                _fail(path, f"{node.op_type} (node {name}) has {value} in {found}, the policy wants {right}")
    if not any(dtypes.get(value) == low for name in low_nodes for value in _judged(after.nodes[name])):
        _fail(path, f"nothing in it computes in {precision}")


def _inferred(model: onnx.ModelProto) -> dict[str, int]:
    """Return element types by value. The file's own value infos are left out: they would be taken for inferred."""
    from onnx import shape_inference

    bare = type(model)()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    return _dtypes(shape_inference.infer_shapes(bare))


def _dtypes(model: onnx.ModelProto) -> dict[str, int]:
    graph = model.graph
    found = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _judged(node: onnx.NodeProto) -> Iterator[str]:
    """The values whose precision is the node's own."""
    from .passes.float_policy import ALWAYS_FLOAT32

    exempt = ALWAYS_FLOAT32.get(node.op_type, frozenset())
    yield from (name for index, name in enumerate(node.input) if name and index not in exempt)
    yield from node.output
