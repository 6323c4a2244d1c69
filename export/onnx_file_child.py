"""The program of onnx_file.py's child process: it answers what a file is, then writes the graph."""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..core.bundle import is_inside, tensors
from ..core.channel import claim_stdout, failure, receive, send
from ..core.graph import EXTERNAL_DATA_BYTES, WEIGHTS
from ..core.precision import CAST, FP32, INTEGERS, QUANTISED
from ..core.tensor_spec import FLOAT_DTYPES, INTEGER_DTYPES
from ..errors import InputError

if TYPE_CHECKING:
    import onnx

OWN_DOMAINS = ("", "ai.onnx")
# The types that cases can be made of; values of others are not drawn.
FED = (*FLOAT_DTYPES, "float64", *INTEGER_DTYPES)
_OLDEST_IR = 3
_SMALL_BYTES = 1 << 16  # of a tensor that sizes may be computed of
_PAGE, _BLOCK = 4096, 1 << 24
_WEIGHTS_ALONE_IR = 4  # the first in which a weight is no input
_INTEGERS = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")


def main() -> None:
    """Answer the first message with what the file is, and the second after writing the graph."""
    stream = os.fdopen(claim_stdout(), "wb")
    try:
        message = receive(sys.stdin.buffer)
        if message is None:
            return
        path, shown = Path(message[0]["path"]), message[0]["shown"]
        model, about = read(path, shown)
        send(stream, about)
        message = receive(sys.stdin.buffer)
        if message is not None:
            destination, dims = Path(message[0]["destination"]), message[0]["dims"]
            send(stream, {"outputs": write(model, destination, dims, source=path.parent, shown=shown)})
    except MemoryError:
        send(stream, failure(InputError("the file takes more memory to read than --memory-limit allows; raise it")))
    except Exception as error:
        send(stream, failure(error))


def read(path: Path, shown: str) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return the model with its weights and functions in place, and what is known of it.

    Raises InputError with one line for everything that makes the file unusable; ``shown`` is its name in there.
    """
    from onnx import inliner

    model = _parsed(path, shown)
    opset = _opset(model, shown)
    files = _external_files(model, path.parent.resolve(), shown)
    load_weights(model, path, files)
    notes = []
    is_rewritten = bool(model.functions)
    if model.functions:
        notes.append(f"{len(model.functions)} functions of the file are inlined")
        model = inliner.inline_local_functions(model)
    if _sort(model.graph):
        is_rewritten = True
        notes.append("nodes read values before they are made, against ONNX's rules: they are sorted in the copy")
    _require_own_operators(model, opset, shown)
    is_rewritten |= _fill_outputs(model)
    if not is_light(model):
        _check(model, shown)
    elif not is_rewritten:  # else the copy is checked, once it is written
        _check(path, shown)
    ir_version = model.ir_version
    _leave_weights_out_of_inputs(model)
    _leave_out_other_domains(model)
    renamed = _name_nodes(model.graph)
    if renamed:
        notes.append(f"{renamed} nodes have no name of their own: they are called by their operator and place")
    inferred = _inferred(model)
    about = {
        "opset": opset,
        "ir_version": ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "precision": _precision(inferred),
        "operators": dict(Counter(node.op_type for node in nodes(model.graph)).most_common()),
        "inputs": [_about_input(value, shown) for value in model.graph.input],
        "outputs": [_about(value, shown) for value in model.graph.output],
        "files": files,
        "notes": notes,
    }
    if not about["inputs"]:
        raise InputError(f"received {shown}, which has no inputs; expected a graph that computes something of them")
    if not about["outputs"]:
        raise InputError(f"received {shown}, which has no outputs; expected a graph that gives something")
    return model, about


def _leave_weights_out_of_inputs(model: onnx.ModelProto) -> None:
    """Before IR version 4 every weight was an input with a default, which nobody feeds; the copy has version 4."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    fed = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(fed)
    model.ir_version = max(model.ir_version, _WEIGHTS_ALONE_IR)


def _leave_out_other_domains(model: onnx.ModelProto) -> None:
    """Exporters import domains that no node uses; by here none is used but ONNX's own."""
    own = next(entry for entry in model.opset_import if entry.domain in OWN_DOMAINS).version
    del model.opset_import[:]
    model.opset_import.add(domain="", version=own)


def _parsed(path: Path, shown: str) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not path.stat().st_size:
        raise InputError(f"received {shown}, which is empty; expected an ONNX file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"received {shown}, which is no ONNX file or only the beginning of one ({reason}); expected a model that "
            "onnx.load reads; export or copy it again"
        ) from error
    if not model.opset_import or not model.HasField("graph"):
        raise InputError(
            f"received {shown}, which is no ONNX file: it names no opset and no graph; expected a model that onnx.save "
            "wrote"
        )
    if not _OLDEST_IR <= model.ir_version <= onnx.IR_VERSION:
        raise InputError(
            f"received {shown} of IR version {model.ir_version}; expected {_OLDEST_IR} to {onnx.IR_VERSION}, which "
            f"onnx {onnx.__version__} knows; export it again, or update onnx"
        )
    return model


def _opset(model: onnx.ModelProto, shown: str) -> int:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    found = [entry.version for entry in model.opset_import if entry.domain in OWN_DOMAINS]
    if not found:
        raise InputError(f"received {shown} without an opset of ONNX's own operators; expected 1 to {newest}")
    if not 1 <= found[0] <= newest:
        raise InputError(
            f"received {shown} of opset {found[0]}; expected 1 to {newest}, which onnx {onnx.__version__} knows; "
            "export it with a lower opset, or update onnx"
        )
    return int(found[0])


def _external_files(model: onnx.ModelProto, folder: Path, shown: str) -> list[str]:
    """Return the weight files; raises InputError unless each lies in the file's folder and has the stated length."""
    import onnx

    found: dict[str, None] = {}
    for tensor in tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}
        location = said.get("location", "").removeprefix("./")
        file = folder / location
        if not is_inside(location) or not file.resolve().is_relative_to(folder):
            raise InputError(
                f"received {shown}, whose weight {tensor.name!r} lies in {location!r}, outside of its folder; expected "
                "weights beside the file; save it again with them there"
            )
        if not file.is_file():
            raise InputError(
                f"received {shown} without {location}, which holds its weight {tensor.name!r}; expected it beside the "
                "file; copy it there"
            )
        try:
            start, length = int(said.get("offset", 0)), int(said.get("length", 0))
            end = start + length if min(start, length) >= 0 else -1
        except ValueError:
            end = -1
        if not 0 <= end <= file.stat().st_size:
            raise InputError(
                f"received {location} of {file.stat().st_size} bytes, and the weight {tensor.name!r} of {shown} ends "
                f"at {end}; expected the whole file; copy it again"
            )
        found[location] = None
    return [*found]


def _require_own_operators(model: onnx.ModelProto, opset: int, shown: str) -> None:
    """Raise InputError for operators of other domains, and for those that the opset does not have."""
    import onnx

    foreign: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for node in nodes(model.graph):
        if node.domain not in OWN_DOMAINS:
            foreign[f"{node.domain}::{node.op_type}"] += 1
        elif not onnx.defs.has(node.op_type, opset, ""):
            unknown[node.op_type] += 1
    for found, why in (
        (foreign, "which are not ONNX's own: no library of custom operators is loaded; export it without them"),
        (unknown, f"which opset {opset} does not have; export it with the opset that has them"),
    ):
        if found:
            listed = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in found.most_common(5))
            raise InputError(f"received {shown} with the operators {listed}, {why}")


def _check(model: onnx.ModelProto | Path, shown: str) -> None:
    """Let ONNX's checker and its shape inference look at the model, or at one that is too large for a message."""
    import onnx

    try:
        onnx.checker.check_model(str(model) if isinstance(model, Path) else model, full_check=True)
    except Exception as error:  # the checker raises several unrelated types
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:240]
        raise InputError(f"received {shown}, which ONNX's checker refuses: {reason}; export it again") from error


def _sort(graph: onnx.GraphProto) -> bool:
    """Put every node behind those whose values it reads, as converters to float16 forget to; True if one moved.

    A graph with a cycle, or one that reads what nobody makes, stays as it is: the checker says so.
    """
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    needs = [{makers[name] for name in _all_read(node) if name in makers} for node in graph.node]
    if all(max(before, default=-1) < place for place, before in enumerate(needs)):
        return False
    order: list[int] = []
    done: set[int] = set()
    while len(order) < len(needs):
        ready = [place for place, before in enumerate(needs) if place not in done and before <= done]
        if not ready:
            return False
        order += ready
        done.update(ready)
    sorted_nodes = [graph.node[place] for place in order]
    del graph.node[:]
    graph.node.extend(sorted_nodes)
    return True


def _all_read(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node and its bodies read."""
    for inner in nodes_of(node):
        yield from inner.input


def _name_nodes(graph: onnx.GraphProto) -> int:
    """Give every node a name of its own; returns how many got one."""
    taken = {node.name for node in graph.node}
    seen: set[str] = set()
    renamed = 0
    for position, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            name = f"{node.op_type}_{position}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
            renamed += 1
        seen.add(node.name)
    return renamed


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield every node, those inside the bodies of If, Loop and Scan included."""
    for node in graph.node:
        yield from nodes_of(node)


def nodes_of(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield a node, and those inside of its bodies."""
    yield node
    for attribute in node.attribute:
        for body in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            yield from nodes(body)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    if model.ByteSize() > EXTERNAL_DATA_BYTES:  # shape inference serialises it
        return model
    return onnx.shape_inference.infer_shapes(model)


def _precision(model: onnx.ModelProto) -> str:
    """Return the precision that the graph computes in: the coarsest that it has values of."""
    import onnx

    graph = model.graph
    operators = {node.op_type for node in nodes(graph)}
    kinds = {value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    kinds |= {tensor.data_type for tensor in tensors(graph)}
    names = {onnx.helper.tensor_dtype_to_np_dtype(kind).name for kind in kinds if kind}
    if operators & {*_INTEGERS}:
        rows = (row.name for row in QUANTISED.values() if not row.is_integer and row.dtype in names)
        return next(rows, INTEGERS[0])
    return next((row.name for row in reversed(CAST.values()) if row.dtype in names), FP32)


def _fill_outputs(model: onnx.ModelProto) -> bool:
    """Give outputs without a shape, which the checker does not take, the one that is inferred; True if there is one."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        return False
    known = {value.name: value for value in _inferred(model).graph.output}
    for value in model.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.CopyFrom(known[value.name])
    return True


def _about(value: onnx.ValueInfoProto, shown: str) -> dict[str, Any]:
    import onnx

    kind = value.type.tensor_type
    if not value.name.isprintable():  # names go into scripts and onto terminals
        raise InputError(f"received {shown}, whose {value.name!r} is no name to print; expected one without line ends")
    if not value.type.HasField("tensor_type") or not kind.elem_type or kind.elem_type == onnx.TensorProto.STRING:
        raise InputError(f"received {shown}, whose {value.name!r} is no tensor of numbers; expected tensors alone")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    dims = [dim.dim_value if dim.dim_value > 0 else dim.dim_param for dim in kind.shape.dim]
    return {"name": value.name, "dtype": dtype, "dims": dims}


def _about_input(value: onnx.ValueInfoProto, shown: str) -> dict[str, Any]:
    about = _about(value, shown)
    if about["dtype"] not in FED:
        raise InputError(
            f"received {shown}, whose input {value.name!r} is {about['dtype']}; expected one of {', '.join(FED)}"
        )
    return about


def write(
    model: onnx.ModelProto,
    path: Path,
    dims: Mapping[str, list[int | str]],
    *,
    source: Path = Path(),
    shown: str = "the file",
) -> list[dict[str, Any]]:
    """Write the model with these dimensions of its inputs; returns what its outputs are then.

    ``source`` is the folder of the files with its weights, if they were left there; ``shown`` is its name in errors. A
    name of the file that now has another, or a size, has it in the outputs too.
    """
    import onnx

    renamed: dict[str, int | str] = {}
    for value in model.graph.input:
        for dim, wanted in zip(value.type.tensor_type.shape.dim, dims[value.name], strict=True):
            if dim.dim_param:
                renamed[dim.dim_param] = wanted
            _set(dim, wanted)
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in renamed:
                _set(dim, renamed[dim.dim_param])
            elif dim.HasField("dim_value") and dim.dim_value < 1:  # as some write a size that varies
                dim.ClearField("dim_value")
    del model.graph.value_info[:]
    model = _inferred(model)  # the types of values decide what can be lowered
    if is_light(model):
        _save_light(model, path, source)
        _check(path, shown)
    else:
        is_large = model.ByteSize() > EXTERNAL_DATA_BYTES
        onnx.save_model(model, str(path), save_as_external_data=is_large, location=WEIGHTS if is_large else None)
    return [_described(value) for value in model.graph.output]


def load_weights(model: onnx.ModelProto, path: Path, files: Sequence[str]) -> None:
    """Take the weights beside the file into the model. If all of them are too much for one message, as protobuf's ends
    at 2 GiB, only the small ones, on which the shapes of values may depend: see ``is_light``."""
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

    size = sum(file.stat().st_size for file in (path, *(path.parent / name for name in files)))
    for tensor in tensors(model):
        if uses_external_data(tensor):
            length = math.prod(tensor.dims) * 8  # bytes at most
            if size <= EXTERNAL_DATA_BYTES or length <= _SMALL_BYTES:
                load_external_data_for_tensor(tensor, str(path.parent))
                tensor.data_location = tensor.DEFAULT
                del tensor.external_data[:]


def is_light(model: onnx.ModelProto) -> bool:
    """Return True for a model whose large weights were left in their files."""
    return any(tensor.data_location == tensor.EXTERNAL for tensor in tensors(model))


def _save_light(model: onnx.ModelProto, path: Path, source: Path) -> None:
    """Write a light model, and its weights out of the files of ``source`` into one file beside it."""
    with path.with_name(WEIGHTS).open("wb") as stream:
        for tensor in tensors(model):
            if tensor.data_location != tensor.EXTERNAL:
                continue
            said = {entry.key: entry.value for entry in tensor.external_data}
            stream.seek(-stream.tell() % _PAGE, os.SEEK_CUR)
            start, length = stream.tell(), _copy(source / said["location"], said, stream)
            del tensor.external_data[:]
            for key, value in (("location", WEIGHTS), ("offset", start), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())


def _copy(file: Path, said: Mapping[str, str], stream: IO[bytes]) -> int:
    """Append one weight of a file to a stream; returns its length."""
    with file.open("rb") as weights:
        weights.seek(int(said.get("offset", 0)))
        left = length = int(said.get("length", 0)) or file.stat().st_size - weights.tell()
        while left:
            block = weights.read(min(left, _BLOCK))
            if not block:
                raise InputError(f"received {file}, which became shorter while it was read; run the command again")
            stream.write(block)
            left -= len(block)
    return length


def _set(dim: Any, wanted: int | str) -> None:
    if isinstance(wanted, int):
        dim.dim_value = wanted
    else:
        dim.dim_param = wanted


def _described(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """Return an output as ``contract.spec_of`` reads it."""
    from .contract import spec_of

    spec = spec_of(value)
    return {"name": spec.name, "dtype": spec.dtype, "dims": [*spec.shape]}
