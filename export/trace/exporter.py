"""Target → ONNX graph, by torch.export and torch.onnx's exporter for it."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn

from ...errors import InputError, ModuleRefused
from ...modules.target import Axis, Dim, Target, TensorSpec
from ..graph import EXTERNAL_DATA_BYTES, OPSETS, WEIGHTS, OnnxGraph
from ..passes.opset17 import ToOpset17
from .pooling import SizeIndependentPooling


def trace(target: Target, module: nn.Module, path: Path, *, opset: int) -> OnnxGraph:
    """Write ``module`` as an ONNX graph of exactly ``opset`` to ``path``.

    Inputs and outputs carry the target's names, dynamic dimensions the axes' names. Raises InputError where the
    module cannot take the target's shape, ModuleRefused where an axis cannot stay dynamic or an operator has no form
    in ``opset``.
    """
    if opset not in OPSETS:
        raise InputError(f"opset {opset} is not supported; expected {OPSETS.start} to {OPSETS.stop - 1}")
    program = _export_program(target, module)
    # 18 is the exporter's own opset: asked for less, it writes 18 and only logs that it did.
    model = _to_onnx(program, target, max(opset, 18))
    _name_dimensions(model, target)
    modules = _module_paths(model)
    if opset == 17:
        ToOpset17()(model)
        ir.passes.common.RemoveUnusedNodesPass()(model)
    _strip_metadata(model)
    _save(model, path)
    return OnnxGraph(path, opset, _specs(model.graph.inputs), _specs(model.graph.outputs), modules)


def example_inputs(target: Target) -> tuple[torch.Tensor, ...]:
    """Seeded tensors of the traced shape, in the order of the module's arguments."""
    generator = torch.Generator().manual_seed(0)
    tensors = []
    for spec in target.inputs:
        shape, dtype = spec.resolve(target.sizes("opt")), getattr(torch, spec.dtype)
        if dtype.is_floating_point:
            tensors.append(torch.randn(shape, generator=generator, dtype=dtype))
        else:
            tensors.append(torch.randint(spec.low, spec.high + 1, shape, generator=generator).to(dtype))
    return tuple(tensors)


def _export_program(target: Target, module: nn.Module) -> torch.export.ExportedProgram:
    inputs = example_inputs(target)
    try:
        with torch.no_grad():
            module(*inputs)
    except Exception as error:  # the user's forward may raise anything
        shapes = ", ".join(f"{s.name} {tuple(t.shape)}" for s, t in zip(target.inputs, inputs, strict=True))
        raise InputError(
            f"{target.name} cannot take {shapes}: {type(error).__name__}: {_first_line(error)}; "
            "give a shape that it can take with --shape"
        ) from error
    dims = {name: _dimension(name, axis) for name, axis in target.axes.items()}
    dynamic = tuple({i: dims[d] for i, d in enumerate(spec.shape) if isinstance(d, str)} for spec in target.inputs)
    try:
        with _quiet(), torch.no_grad(), SizeIndependentPooling():
            return torch.export.export(module, inputs, dynamic_shapes=_for_signature(module, dynamic), strict=False)
    except Exception as error:
        raise _refusal(target, error) from error


def _dimension(name: str, axis: Axis) -> torch.export.Dim:
    if axis.min == axis.max:
        raise InputError(f"the range {axis} of {name!r} holds one size; leave the axis out of --dynamic, or widen it")
    # torch wants an identifier; an axis of one of several inputs is called "mask.dim1".
    return torch.export.Dim(name.replace(".", "_"), min=axis.min, max=axis.max)


def _for_signature(module: nn.Module, dynamic: tuple[dict[int, torch.export.Dim], ...]) -> tuple[object, ...]:
    """``dynamic`` as torch.export wants it: the arguments of a ``forward(*tensors)`` are one entry."""
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    return (dynamic,) if kinds[:1] == [inspect.Parameter.VAR_POSITIONAL] else dynamic


def _refusal(target: Target, error: Exception) -> ModuleRefused:
    text = str(error)
    fixed = re.search(r"marked (\S+) as dynamic but your code specialized it to be a constant \((\d+)\)", text)
    if fixed:
        return ModuleRefused(
            f"{target.name} fixes the axis {fixed[1]!r} at {fixed[2]}: its Python code reads that size as a number; "
            f"use x.shape without int(), .view(...) with -1, or leave {fixed[1]!r} out of --dynamic"
        )
    guard = re.search(r"^\s*-?\s*(?:Not all values of|The values of) (.+)$", text, re.MULTILINE)
    fixes = re.search(r"Suggested fixes:\s*\n((?:\s{2,}\S.*\n?)+)", text)
    if guard or fixes:
        hint = " ".join(fixes[1].split()) if fixes else ""
        return ModuleRefused(
            f"{target.name} does not take every size of its dynamic axes: {guard[1] if guard else hint}; "
            f"narrow --dynamic{f' ({hint})' if hint else ''} or make the axis static"
        )
    return ModuleRefused(
        f"{target.name} cannot be traced: {type(error).__name__}: {_first_line(error)}; "
        "rewrite what depends on the values of a tensor, or leave axes out of --dynamic; --debug shows where"
    )


def _to_onnx(program: torch.export.ExportedProgram, target: Target, opset: int) -> ir.Model:
    names = [spec.name for spec in target.inputs]
    try:
        with _quiet():
            exported = torch.onnx.export(
                program,
                opset_version=opset,
                input_names=names,
                output_names=list(_output_names(target, program)),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise ModuleRefused(
            f"{target.name} has no ONNX form: {_first_line(error.__cause__ or error)}; "
            "replace that operation in the module; --debug shows where"
        ) from error
    if exported is None:
        raise ModuleRefused(f"{target.name} has no ONNX form: the exporter returned nothing; see --debug")
    model = exported.model
    if model.opset_imports.get("") != opset:
        raise ModuleRefused(
            f"{target.name} was written as opset {model.opset_imports.get('')} where {opset} was asked for; "
            "ask for an opset of 17 or 18"
        )
    return model


def _output_names(target: Target, program: torch.export.ExportedProgram) -> tuple[str, ...]:
    count = len(program.graph_signature.user_outputs)
    if target.output_names:
        if len(target.output_names) != count:
            raise InputError(
                f"{target.name} returns {count} tensors, but {len(target.output_names)} output names were given "
                f"({', '.join(target.output_names)}); give one name for each"
            )
        return target.output_names
    return ("output",) if count == 1 else tuple(f"output_{i}" for i in range(count))


def _name_dimensions(model: ir.Model, target: Target) -> None:
    """Give every symbolic dimension the name of its axis, in place of torch's own symbols (``s77``)."""
    names: dict[str, str] = {}
    for value, spec in zip(model.graph.inputs, target.inputs, strict=True):
        for found, asked in zip(value.shape or (), spec.shape, strict=True):
            if isinstance(asked, str):
                if isinstance(found, int):
                    raise ModuleRefused(
                        f"{target.name} fixes the axis {asked!r} at {found}; leave it out of --dynamic, "
                        "or use sizes of x.shape instead of numbers in the module"
                    )
                names[str(found.value)] = asked
    for value in _values(model):
        if value.shape is not None:
            value.shape = ir.Shape([_renamed(dim, names) for dim in value.shape])


def _renamed(dim: int | ir.SymbolicDim, names: Mapping[str, str]) -> Dim | None:
    if isinstance(dim, int):
        return dim
    return None if dim.value is None else re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m[0], m[0]), dim.value)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        yield from node.outputs


def _module_paths(model: ir.Model) -> dict[str, str]:
    """Node name → path of the PyTorch module, from the metadata that the exporter writes into each node."""
    paths: dict[str, str] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
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


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' progress lines and warnings off the user's terminal; errors still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
