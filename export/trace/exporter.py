"""Target → ONNX graph: the program of torch.export, as torch.onnx's exporter writes it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn

from ...core.dimension import Dim, is_name
from ...core.graph import EXTERNAL_DATA_BYTES, WEIGHTS, OnnxGraph, require_opset
from ...core.precision import FP32, INT8
from ...core.tensor_spec import Axis, TensorSpec
from ...errors import ModuleRefused
from ...modules.target import Target
from ..merged import Wiring, merged_modules, others_than
from ..passes.bool_where import write_bool_wheres
from ..passes.lost_initializers import restore_initializers
from ..passes.opset17 import ToOpset17
from ..passes.replaced_metadata import SCOPES, replaced_metadata
from ..passes.small_constants import hidden_constants
from ..passes.uint8_inputs import CastUint8Inputs
from .between_pixels import write_between
from .complex_numbers import spell_out
from .deformed import deformed
from .float64_note import float64_notes
from .floor_division import round_down
from .fold_weights import fold_weights
from .nearest import write_nearest
from .outputs import name_values, output_names
from .program import digest
from .promoted import promote
from .read_once import read_once
from .refusals import check_operators, check_program, no_form
from .rewrites.quantisers import write_quantisers
from .tracing import export_program, quiet
from .translations import TRANSLATIONS


def trace(target: Target, module: nn.Module, path: Path, *, opset: int) -> OnnxGraph:
    """Write ``module`` as an ONNX graph of exactly ``opset`` to ``path``.

    Inputs and outputs carry the target's names, dynamic dimensions the axes' names. Raises InputError if the
    module cannot take the target's shape, ModuleRefused if an axis cannot stay dynamic or ``opset`` cannot express an
    operator.
    """
    require_opset(opset)
    program, axes = export_program(target, module)
    check_program(program, target)
    # before what depends on weights alone becomes constants of the program
    traced = digest(program, axes) if target.fingerprint is None else ""
    # 18 is the exporter's own opset: asked for less, it writes 18 and only logs that it did.
    model, merged = _to_onnx(program, target, axes, max(opset, 18))
    CastUint8Inputs()(model)
    write_bool_wheres(model)
    _name_dimensions(model, target)
    modules = _module_paths(model)
    if opset == 17:
        ToOpset17()(model)
        ir.passes.common.RemoveUnusedNodesPass()(model)
    check_operators(model, target, opset)
    notes = float64_notes(model)
    _strip_metadata(model)
    _save(model, path)
    inputs, outputs = _specs(model.graph.inputs), _specs(model.graph.outputs)
    merged = others_than(modules, merged)
    precision = INT8 if any(node.op_type == "QuantizeLinear" for node in model.graph) else FP32
    return OnnxGraph(path, opset, inputs, outputs, modules, axes, merged, traced, notes, precision=precision)


def program_of(target: Target, module: nn.Module) -> str:
    """Return the digest of the program that ``trace`` makes a graph of, as its ``program``; raises as it does."""
    program, axes = export_program(target, module)
    return digest(program, axes)


def _to_onnx(
    program: torch.export.ExportedProgram, target: Target, axes: Mapping[str, Axis], opset: int
) -> tuple[ir.Model, Mapping[str, tuple[str, ...]]]:
    """The model as the exporter optimises it, and the modules of all that each node then stands for."""
    merged: Mapping[str, tuple[str, ...]] = {}
    outputs = output_names(target, program)
    try:
        with quiet():
            exported = _translate(program, target, axes, opset)
            if exported is not None:
                before = _wiring(exported.model)
                modules = {node: (path,) for node, path in _module_paths(exported.model).items()}
                with hidden_constants(exported.model), replaced_metadata():
                    exported.optimize()
                    restore_initializers(exported.model)
                merged = merged_modules(before, _wiring(exported.model), modules)
                name_values(exported.model, [spec.name for spec in target.inputs], outputs)
    except ModuleRefused as error:
        raise ModuleRefused(f"{target.name} has no ONNX form: {error}") from error
    except Exception as error:
        raise no_form(target, error) from error
    if exported is None:
        raise ModuleRefused(f"{target.name} has no ONNX form: the exporter returned nothing; see --debug")
    model = exported.model
    if model.opset_imports.get("") != opset:
        raise ModuleRefused(
            f"{target.name} was written as opset {model.opset_imports.get('')} where {opset} was asked for; "
            "ask for an opset of 17 or 18"
        )
    return model, merged


def _translate(
    program: torch.export.ExportedProgram, target: Target, axes: Mapping[str, Axis], opset: int
) -> torch.onnx.ONNXProgram | None:
    """Return the program as torch.onnx writes it; what depends on weights alone it need not be able to."""

    def translate() -> torch.onnx.ONNXProgram | None:
        with read_once():
            return torch.onnx.export(
                program,
                opset_version=opset,
                dynamo=True,
                verbose=False,
                optimize=False,
                custom_translation_table={**TRANSLATIONS, **deformed(program, opset)},
            )

    program = spell_out(program)
    fold_weights(program, distrusted_alone=True)
    round_down(program)
    promote(program)
    write_quantisers(program)
    write_nearest(program, target.inputs, axes)
    write_between(program, target.inputs, axes)
    try:
        return translate()
    except Exception:
        if not fold_weights(program, distrusted_alone=False):
            raise
    return translate()


def _wiring(model: ir.Model) -> list[Wiring]:
    def names(values: Sequence[ir.Value | None]) -> tuple[str, ...]:
        return tuple(str(value.name) for value in values if value is not None)

    return [Wiring(str(node.name), node.op_type, names(node.inputs), names(node.outputs)) for node in model.graph]


def _name_dimensions(model: ir.Model, target: Target) -> None:
    """Give every symbolic dimension the name of its axis, in place of torch's own symbols (``s77``)."""
    names: dict[str, str] = {}
    for value, spec in zip(model.graph.inputs, target.inputs, strict=True):
        for found, asked in zip(value.shape or (), spec.shape, strict=True):
            if isinstance(asked, str):
                size = found if isinstance(found, int) else found.value
                # A size that translating the program fixed is the text of a number.
                if size is None or str(size).isdigit():
                    raise ModuleRefused(
                        f"{target.name} fixes the axis {asked!r} at {size}; leave it out of --dynamic, "
                        "or use sizes of x.shape instead of numbers in the module"
                    )
                names[str(size)] = asked
    for value in _values(model):
        if value.shape is not None:
            value.shape = ir.Shape([_renamed(dim, names) for dim in value.shape])


def _renamed(dim: int | ir.SymbolicDim, names: Mapping[str, str]) -> Dim | None:
    if isinstance(dim, int):
        return dim
    if dim.value is None or dim.value in names:
        return names.get(str(dim.value))

    def name(found: re.Match[str]) -> str:
        new = names.get(found[0], found[0])
        return new if is_name(new) else f"({new})"

    return re.sub(r"[A-Za-z_]\w*", name, dim.value)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        yield from node.outputs


def _module_paths(model: ir.Model) -> dict[str, str]:
    """Node name → path of the PyTorch module, from the metadata that the exporter writes into each node."""
    paths: dict[str, str] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        scopes = node.metadata_props.get(SCOPES)
        if scopes and node.name:
            # Sizes are read outside of every module; torch gives them a scope of its own with a leading underscore.
            named = [scope for scope in ast.literal_eval(scopes)[:-1] if scope and not scope.startswith("_empty")]
            paths[node.name] = named[-1] if named else ""
    return paths


def _strip_metadata(model: ir.Model) -> None:
    """Drop what the exporter noted: stack traces hold paths of this machine, and IR version 8 has no place for it."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in model.graph.inputs:
        value.metadata_props.clear()
    for initializer in model.graph.initializers.values():
        initializer.metadata_props.clear()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def _save(model: ir.Model, path: Path) -> None:
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    if weights > EXTERNAL_DATA_BYTES:
        ir.save(model, path, external_data=WEIGHTS, size_threshold_bytes=1024)
    else:
        ir.save(model, path)


def _specs(values: Sequence[ir.Value]) -> tuple[TensorSpec, ...]:
    specs = []
    for value in values:
        shape = tuple(d if isinstance(d, int) else str(d.value) for d in value.shape or ())
        dtype = value.dtype.numpy().name if value.dtype is not None else "float32"
        specs.append(TensorSpec(str(value.name), shape, dtype))
    return tuple(specs)
