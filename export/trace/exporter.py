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
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ...core.dimension import Dim, is_name, names_in, size_of
from ...core.graph import EXTERNAL_DATA_BYTES, OPSETS, WEIGHTS, OnnxGraph
from ...core.tensor_spec import Axis, TensorSpec
from ...errors import InputError, ModuleRefused
from ...modules.checks import check_smallest
from ...modules.copying import copy_module
from ...modules.raised import raised, remedy
from ...modules.target import Target
from ..merged import Wiring, merged_modules, others_than
from ..passes.opset17 import ToOpset17
from ..passes.small_constants import HiddenConstants
from ..passes.uint8_inputs import CastUint8Inputs
from .advice import advice_on
from .float64_note import float64_notes
from .fold_weights import fold_weights
from .guards import Guard, TraceGuards, is_dynamic
from .narrowing import Violation, fixing_guard, restrict
from .outputs import name_values, output_names, run_checked
from .program import digest
from .refusals import check_operators, no_form
from .rewrites import SizeIndependentCalls
from .size_numbers import SizesStayNumbers


def trace(target: Target, module: nn.Module, path: Path, *, opset: int) -> OnnxGraph:
    """Write ``module`` as an ONNX graph of exactly ``opset`` to ``path``.

    Inputs and outputs carry the target's names, dynamic dimensions the axes' names. Raises InputError if the
    module cannot take the target's shape, ModuleRefused if an axis cannot stay dynamic or ``opset`` cannot express an
    operator.
    """
    if opset not in OPSETS:
        raise InputError(f"opset {opset} is not supported; expected {OPSETS.start} to {OPSETS.stop - 1}")
    program, axes = _export_program(target, module)
    # before what depends on weights alone becomes constants of the program
    traced = digest(program, axes) if target.fingerprint is None else ""
    # 18 is the exporter's own opset: asked for less, it writes 18 and only logs that it did.
    model, merged = _to_onnx(program, target, max(opset, 18))
    CastUint8Inputs()(model)
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
    return OnnxGraph(path, opset, inputs, outputs, modules, axes, others_than(modules, merged), traced, notes)


def program_of(target: Target, module: nn.Module) -> str:
    """Return the digest of the program that ``trace`` makes a graph of, as its ``program``; raises as it does."""
    program, axes = _export_program(target, module)
    return digest(program, axes)


def example_inputs(target: Target, sizes: Mapping[str, int] | None = None) -> tuple[torch.Tensor, ...]:
    """Seeded tensors of the traced shape, or of other ``sizes``, in the order of the module's arguments."""
    generator = torch.Generator().manual_seed(0)
    tensors = []
    for spec in target.inputs:
        shape, dtype = spec.resolve(sizes or target.sizes("opt")), getattr(torch, spec.dtype)
        if spec.bounds is None:
            tensors.append(torch.randn(shape, generator=generator, dtype=dtype))
            continue
        low, high = spec.bounds
        if dtype.is_floating_point:
            tensors.append(low + (high - low) * torch.rand(shape, generator=generator, dtype=dtype))
        else:
            tensors.append(torch.randint(int(low), int(high) + 1, shape, generator=generator).to(dtype))
    return tuple(tensors)


def _export_program(target: Target, module: nn.Module) -> tuple[torch.export.ExportedProgram, Mapping[str, Axis]]:
    inputs = example_inputs(target)
    # Tracing leaves its own tensors in what a module keeps between calls.
    module = copy_module(module, shares_parameters=True)
    try:
        run_checked(target, module, inputs)
    except ModuleRefused:
        raise
    except Exception as error:  # the user's forward may raise anything
        shapes = ", ".join(f"{s.name} {tuple(t.shape)}" for s, t in zip(target.inputs, inputs, strict=True))
        raise InputError(
            f"{target.name} cannot take {shapes}: {raised(error)}; {remedy(error, 'change --shape')}"
        ) from error
    for name, axis in target.axes.items():
        if axis.min == axis.max:
            raise InputError(
                f"the range {axis} of {name!r} holds one size; leave the axis out of --dynamic, or widen it"
            )
    found = _attempt(target, module, inputs, keep_numbers=True)
    if isinstance(found.failure, Exception):
        # The stand-ins for int and math may be what stood in the way.
        found = _attempt(target, module, inputs, keep_numbers=False)
    if found.larger is not None:
        found = _attempt(target, module, example_inputs(target, found.larger), keep_numbers=found.keeps_numbers)
    if found.program is None or found.failure is not None:
        raise _refusal(target, found.failure)
    check_smallest(module, target.inputs, found.axes)
    return found.program, found.axes


@dataclass(frozen=True)
class _Attempt:
    """One trace: the program with the ranges that it holds for, or what stood against it.

    ``larger`` are sizes to trace at instead; ``keeps_numbers`` says how it was made.
    """

    program: torch.export.ExportedProgram | None
    axes: Mapping[str, Axis]
    failure: Exception | Violation | None
    larger: Mapping[str, int] | None
    keeps_numbers: bool


def _attempt(target: Target, module: nn.Module, inputs: tuple[torch.Tensor, ...], *, keep_numbers: bool) -> _Attempt:
    dynamic = tuple(
        {i: _hint(dim, target) for i, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in target.inputs
    )
    guards = TraceGuards(module, target.inputs)
    program: torch.export.ExportedProgram | None = None
    failure: Exception | Violation | None = None
    try:
        with quiet(), torch.no_grad(), contextlib.ExitStack() as stack:
            stack.enter_context(guards)
            stack.enter_context(SizeIndependentCalls())
            if keep_numbers:
                stack.enter_context(SizesStayNumbers(module))
            shapes = for_signature(module, dynamic)
            program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # the user's forward and torch may raise anything
        failure = error
    larger = guards.larger_sizes(target.axes)
    asked = [*guards.guards(), *(guards.rounded_sizes(program) if program is not None else ())]
    axes, violation = restrict(asked, target.axes, lambda sizes: _agrees(target, module, program, sizes))
    if violation is None and program is not None:
        violation = next(_fixed(target, program, guards.guards()), None)
    return _Attempt(program, axes, violation if violation is not None else failure, larger, keep_numbers)


def _fixed(target: Target, program: torch.export.ExportedProgram, guards: Sequence[Guard]) -> Iterator[Violation]:
    """Axes that are numbers in ``program``, though it would hold at other sizes: its layers were traced for one."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    for spec, name in zip(target.inputs, program.graph_signature.user_inputs, strict=False):
        for dim, size in zip(spec.shape, getattr(values.get(str(name)), "shape", ()), strict=False):
            if isinstance(dim, str) and not is_dynamic(size):
                axis = names_in(dim)[0]
                fixing = fixing_guard(guards, axis, target.axes[axis])
                yield Violation(replace(fixing, call=_unrolled(program)), axis, (target.axes[axis].opt,))


def _unrolled(program: torch.export.ExportedProgram) -> str:
    """The recurrent layer in ``program``, whose length becomes a number, or words for some other call."""
    layers = {"lstm": "nn.LSTM", "gru": "nn.GRU", "rnn_tanh": "nn.RNN", "rnn_relu": "nn.RNN"}
    called = (str(node.target).split(".")[1:2] for node in program.graph.nodes if node.op == "call_function")
    return next((layers[name[0]] for name in called if name and name[0] in layers), "that call")


def _agrees(
    target: Target, module: nn.Module, program: torch.export.ExportedProgram | None, sizes: Mapping[str, int]
) -> bool:
    """Return True if ``program`` returns what ``module`` does at these sizes; False if either cannot run."""
    if program is None:
        return False
    inputs = example_inputs(target, sizes)
    try:
        with quiet(), torch.no_grad():
            expected = tree_leaves(module(*inputs))
            found = tree_leaves(_unguarded(program)(*inputs))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
    except Exception:  # the module, the program or the comparison: in each case they do not agree
        return False
    return True


def _unguarded(program: torch.export.ExportedProgram) -> nn.Module:
    """The program as a module that runs at any size: whether it holds for more than torch claims is the question."""
    runs = program.module(check_guards=False)
    # What is left compares the sizes of inputs with the ranges to which torch narrowed them.
    runs._forward_pre_hooks.clear()
    return runs


def _hint(dim: str, target: Target) -> object:
    """A size that torch may restrict as it likes: the guards say what it did, and they are judged here."""
    ends = [size_of(dim, target.sizes(end)) for end in ("min", "max")]
    return torch.export.Dim.AUTO(min=min(ends), max=max(ends))


def for_signature(module: nn.Module, dynamic: tuple[dict[int, object], ...]) -> tuple[object, ...]:
    """``dynamic`` as torch.export wants it: the arguments of a ``forward(*tensors)`` are one entry."""
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    return (dynamic,) if kinds[:1] == [inspect.Parameter.VAR_POSITIONAL] else dynamic


def _refusal(target: Target, failure: Exception | Violation | None) -> ModuleRefused:
    if isinstance(failure, Violation):
        return ModuleRefused(f"{target.name} {failure}; {advice_on(failure)}")
    if failure is None:
        return ModuleRefused(f"{target.name} cannot be traced: torch.export returned nothing; see --debug")
    advice = "rewrite what depends on the values of a tensor, or leave axes out of --dynamic; --debug shows where"
    return ModuleRefused(f"{target.name} cannot be traced: {raised(failure)}; {remedy(failure, advice)}")


def _to_onnx(
    program: torch.export.ExportedProgram, target: Target, opset: int
) -> tuple[ir.Model, Mapping[str, tuple[str, ...]]]:
    """The model as the exporter optimises it, and the modules of all that each node then stands for."""
    merged: Mapping[str, tuple[str, ...]] = {}
    outputs = output_names(target, program)
    try:
        with quiet():
            exported = _translate(program, opset)
            if exported is not None:
                before = _wiring(exported.model)
                modules = {node: (path,) for node, path in _module_paths(exported.model).items()}
                with HiddenConstants(exported.model):
                    exported.optimize()
                merged = merged_modules(before, _wiring(exported.model), modules)
                name_values(exported.model, [spec.name for spec in target.inputs], outputs)
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


def _translate(program: torch.export.ExportedProgram, opset: int) -> torch.onnx.ONNXProgram | None:
    """Return the program as torch.onnx writes it; what depends on weights alone it need not be able to."""

    def translate() -> torch.onnx.ONNXProgram | None:
        return torch.onnx.export(program, opset_version=opset, dynamo=True, verbose=False, optimize=False)

    fold_weights(program, distrusted_alone=True)
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


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
