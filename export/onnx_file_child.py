"""The program of onnx_file.py's child process: it answers what a file is, then writes the graph."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.channel import claim_stdout, failure, receive, send
from ..core.file_hashes import tensors
from ..core.graph import EXTERNAL_DATA_BYTES, WEIGHTS
from ..core.nodes import bodies, nodes, nodes_of
from ..core.precision import BF16, CAST, FP32, INTEGERS, PRECISIONS, QUANTISED
from ..core.random_nodes import random_operators
from ..core.tensor_spec import FLOAT_DTYPES, INTEGER_DTYPES
from ..errors import InputError
from .onnx_file_checks import OWN_DOMAINS, check, external_files, load, opset_of, require_dense, require_own_operators
from .onnx_file_functions import inlined
from .onnx_file_weights import is_light, load_weights, save_light

if TYPE_CHECKING:
    import onnx

BFLOAT16 = PRECISIONS[BF16].dtype
_FLOATS = (1, 10, 11)  # float32, float16 and float64, by onnx.TensorProto.DataType

# The types that cases can be made of; values of others are not drawn.
FED = (*FLOAT_DTYPES, "float64", *INTEGER_DTYPES)
_WEIGHTS_ALONE_IR = 4  # the first in which a weight is no input
_CASTS = ("Cast", "CastLike", "Identity")
# 8-bit operators that hand on no levels which a float64 truth, or PyTorch, could be rounded to.
_WITHOUT_LEVELS = ("DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
_INTEGERS = ("QuantizeLinear", *_WITHOUT_LEVELS)


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
    model = load(path, shown)
    opset = opset_of(model, shown)
    require_dense(model, shown)
    files = external_files(model, path.parent.resolve(), shown)
    load_weights(model, path, files, shown)
    notes = []
    is_rewritten = bool(model.functions)
    if model.functions:
        notes.append(f"{len(model.functions)} functions of the file are inlined")
        model = inlined(model, opset, shown)
    if _sort(model.graph):
        is_rewritten = True
        notes.append("nodes read values before they are made, against ONNX's rules: they are sorted in the copy")
    require_own_operators(model, opset, shown)
    is_rewritten |= _fill_outputs(model)
    if not is_light(model):
        check(model, shown)
    elif not is_rewritten:  # else the copy is checked, once it is written
        check(path, shown)
    ir_version = model.ir_version
    _leave_weights_out_of_inputs(model)
    _leave_out_other_domains(model)
    nameless, alike = _name_nodes(model.graph, {node.name for node in nodes(model.graph)}, set())
    if nameless:
        notes.append(f"{nameless} nodes have no name of their own: they are called by their operator and place")
    if alike:
        notes.append(
            f"{alike} nodes have the name of another one, and ONNX Runtime loads no such file: they have others in the "
            "copy"
        )
    about = _about(model, shown)
    notes += [*about["notes"], *_without_levels(model), *_with_nan(model)]
    known = {"opset": opset, "ir_version": ir_version, "draws": random_operators(model.graph), "files": files}
    return model, {**about, **known, "notes": notes}


def _without_levels(model: onnx.ModelProto) -> list[str]:
    """Return a sentence about 8-bit operators that no stage can judge, with what to do instead."""
    found = sorted({node.op_type for node in nodes(model.graph)} & {*_WITHOUT_LEVELS})
    if not found:
        return []
    return [
        f"{', '.join(found)}: the file has no levels that its numbers could be judged on; quantise it with "
        "QuantizeLinear and DequantizeLinear (static, QDQ), or deploy its module with --precision int8"
    ]


def _with_nan(model: onnx.ModelProto) -> list[str]:
    """Return a sentence for every float weight with NaN in it; infinity may be a mask. Large ones are not looked at."""
    from onnx.numpy_helper import to_array

    held = (tensor for tensor in tensors(model) if tensor.data_location != tensor.EXTERNAL)
    arrays = ((tensor.name, to_array(tensor)) for tensor in held if tensor.data_type in _FLOATS)
    return [
        f"{name or 'a constant'} has NaN among its {values.size} numbers: what they reach is not checked"
        for name, values in arrays
        if values.size and bool(values.min() != values.min())
    ]


def _about(model: onnx.ModelProto, shown: str) -> dict[str, Any]:
    """Return what a model says of itself; raises InputError if nothing goes in, or nothing comes out."""
    precision, notes = _precision(_inferred(model))
    about = {
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "precision": precision,
        "notes": notes,
        "operators": dict(Counter(node.op_type for node in nodes(model.graph)).most_common()),
        "inputs": [_about_input(value, shown) for value in model.graph.input],
        "outputs": [_about_value(value, shown) for value in model.graph.output],
    }
    if not about["inputs"]:
        raise InputError(f"received {shown}, which has no inputs; expected a graph that computes something of them")
    if not about["outputs"]:
        raise InputError(f"received {shown}, which has no outputs; expected a graph that gives something")
    return about


def _leave_weights_out_of_inputs(model: onnx.ModelProto) -> None:
    """Take the weights out of the inputs and raise the IR to version 4: before that, every weight was an input."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    fed = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(fed)
    model.ir_version = max(model.ir_version, _WEIGHTS_ALONE_IR)


def _leave_out_other_domains(model: onnx.ModelProto) -> None:
    """Drop the imports of other domains, which exporters write though no node uses them."""
    own = next(entry for entry in model.opset_import if entry.domain in OWN_DOMAINS).version
    del model.opset_import[:]
    model.opset_import.add(domain="", version=own)


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


def _name_nodes(graph: onnx.GraphProto, taken: set[str], seen: set[str]) -> tuple[int, int]:
    """Give every node, in bodies too, a unique name that is not ``taken``; ``seen`` are the names of earlier nodes.

    Returns how many had no name, and how many had one that was seen.
    """
    nameless = alike = 0
    for position, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            nameless, alike = nameless + (not node.name), alike + bool(node.name)
            name = f"{node.op_type}_{position}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)
        for body in bodies(node):
            more = _name_nodes(body, taken, seen)
            nameless, alike = nameless + more[0], alike + more[1]
    return nameless, alike


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    if model.ByteSize() > EXTERNAL_DATA_BYTES:  # shape inference serialises it
        return model
    return onnx.shape_inference.infer_shapes(model)


def _precision(model: onnx.ModelProto) -> tuple[str, list[str]]:
    """Return the precision that the graph computes in, the coarsest of what its outputs depend on, and a note if most
    operators have another."""
    live, names = _live(model.graph)
    kinds = {name: kind for name, kind in _kinds(model.graph).items() if name in names}
    found = {*kinds.values(), *(_dtype(tensor.data_type) for node in live for tensor in tensors(node))}
    if {node.op_type for one in live for node in nodes_of(one)} & {*_INTEGERS}:
        rows = (row.name for row in QUANTISED.values() if not row.is_integer and row.dtype in found)
        return next(rows, INTEGERS[0]), []
    row = next((row for row in reversed(CAST.values()) if row.dtype in found), None)
    if row is None:
        return FP32, []
    made = [kinds.get(node.output[0]) for node in live if node.op_type not in _CASTS]
    count, low = sum(kind in FLOAT_DTYPES or kind == row.dtype for kind in made), made.count(row.dtype)
    note = f"{low} of {count} operators compute in {row.words}: the whole file is held to {row.words}'s limits"
    return row.name, [note] if low < count / 2 else []


def _live(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], set[str]]:
    """Return the nodes on which outputs depend, and the names of these values, in bodies too."""
    names = {value.name for value in graph.output}
    live = []
    for node in reversed(graph.node):  # sorted: readers stand behind
        if names & {*node.output}:
            live.append(node)
            names.update(filter(None, _all_read(node)))
    return live, names


def _kinds(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the types of values and weights."""
    values = (*graph.value_info, *graph.input, *graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: _dtype(kind) for name, kind in kinds.items()}


def _dtype(kind: int) -> str:
    import onnx

    if kind not in onnx.TensorProto.DataType.values():
        raise InputError(f"received data type {kind}, which onnx {onnx.__version__} does not know; update onnx")
    return onnx.helper.tensor_dtype_to_np_dtype(kind).name if kind else ""


def _fill_outputs(model: onnx.ModelProto) -> bool:
    """Give outputs without a shape, which the checker does not take, the one that is inferred; True if there is one."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        return False
    known = {value.name: value for value in _inferred(model).graph.output}
    for value in model.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.CopyFrom(known[value.name])
    return True


def _about_value(value: onnx.ValueInfoProto, shown: str) -> dict[str, Any]:
    import onnx

    kind = value.type.tensor_type
    if not value.name.isprintable():  # names go into scripts and onto terminals
        raise InputError(f"received {shown}, whose {value.name!r} is no name to print; expected one without line ends")
    if not value.type.HasField("tensor_type") or not kind.elem_type or kind.elem_type == onnx.TensorProto.STRING:
        raise InputError(f"received {shown}, whose {value.name!r} is no tensor of numbers; expected tensors alone")
    dtype = _dtype(kind.elem_type)
    if dtype == BFLOAT16:
        raise InputError(
            f"received {shown}, whose {value.name!r} is {BFLOAT16}, which neither NumPy nor ONNX Runtime's CPU "
            f"provider takes or gives; expected float32 or float16 at the border, and {BFLOAT16} inside alone; export "
            "a module that casts there, as y.float()"
        )
    dims = [dim.dim_value if dim.dim_value > 0 else dim.dim_param for dim in kind.shape.dim]
    return {"name": value.name, "dtype": dtype, "dims": dims}


def _about_input(value: onnx.ValueInfoProto, shown: str) -> dict[str, Any]:
    about = _about_value(value, shown)
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
        save_light(model, path, source)
        check(path, shown)
    else:
        is_large = model.ByteSize() > EXTERNAL_DATA_BYTES
        onnx.save_model(model, str(path), save_as_external_data=is_large, location=WEIGHTS if is_large else None)
    return [_described(value) for value in model.graph.output]


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
