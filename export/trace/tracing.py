"""Target → program of torch.export, traced with dynamic axes, and the ranges that it holds for."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ...core.dimension import names_in, size_of
from ...core.tensor_spec import Axis, optima
from ...errors import InputError, ModuleRefused
from ...modules.checks import check_at, check_smallest
from ...modules.copying import copy_module
from ...modules.raised import raised, remedy
from ...modules.seen_operators import uncompiled
from ...modules.target import Target
from .advice import advice_on
from .following import followed, run_copy, runs
from .guards import Guard, is_dynamic
from .masked import with_chosen_elements
from .narrowing import COMBINATIONS, Agrees, Violation, fixing_guard, restrict
from .outputs import run_checked
from .paths import only_at, restrict_along_paths
from .program import input_sizes, without_raised
from .size_questions import SizeQuestions
from .transforms import without_transforms
from .unsolved import unsolved


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


def export_program(target: Target, module: nn.Module) -> tuple[torch.export.ExportedProgram, Mapping[str, Axis]]:
    """Return the program of a module, and the ranges of its axes that it holds for.

    Raises InputError if the module cannot take the target's shape, ModuleRefused if it cannot be traced with its axes.
    """
    inputs = example_inputs(target)
    # Tracing leaves its own tensors in what a module keeps between calls.
    original, module = module, copy_module(module, shares_parameters=True)
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
    found = _traced(target, module)
    if found.program is None or found.failure is not None:
        _check_left_out(target, original, found.failure)
        raise _refusal(target, found.failure, _tie(target, original, found.failure))
    axes, violation = _along_paths(target, original, found)
    if violation is not None:
        raise _refusal(target, violation)
    check_smallest(module, target.inputs, axes)
    return found.program, axes


def _check_left_out(target: Target, module: nn.Module, failure: Exception | Violation | None) -> None:
    """Raise SizesRefused if the module itself does not take the nearest size at which an operator has no trace."""
    if isinstance(failure, Violation) and failure.excluded and not failure.guard.is_branch:
        opt = target.axes[failure.axis].opt
        sizes = {**target.sizes("opt"), failure.axis: min(failure.excluded, key=lambda size: abs(size - opt))}
        part = failure.narrower
        check_at(
            sizes, module, target.inputs, target.axes, f"narrow it to {failure.axis}={part.text}, or " if part else ""
        )


def _tie(target: Target, module: nn.Module, failure: Exception | Violation | None) -> str:
    """Return the tie of --dynamic by which the module takes other sizes, as one of square images; "" without need."""
    if not isinstance(failure, Violation) or failure.guard.tie:
        return ""
    sizes = _other_sizes(target, failure)
    if sizes is None or runs(module, example_inputs(target, sizes)):
        return ""
    for first, second in itertools.combinations(sizes, 2):
        tied = {**sizes, second: sizes[first]}
        if sizes[first] in target.axes[second].sizes and runs(module, example_inputs(target, tied)):
            return f"{second}={first}"
    return ""


@dataclass(frozen=True)
class _Attempt:
    """One trace, made at ``sizes``: the program with the ranges that it holds for, or what stood against it.

    ``larger`` are sizes to trace at instead; ``keeps_numbers`` says how it was made, ``asked`` holds its guards, and
    ``agrees`` runs it.
    """

    program: torch.export.ExportedProgram | None
    axes: Mapping[str, Axis]
    failure: Exception | Violation | None
    larger: Mapping[str, int] | None
    keeps_numbers: bool
    sizes: Mapping[str, int]
    asked: Sequence[Guard]
    agrees: Agrees


def _traced(target: Target, module: nn.Module) -> _Attempt:
    """Return the first attempt without a failure, else the one whose failure says most."""
    found = _attempt(target, module, target.sizes("opt"), keep_numbers=True)
    if isinstance(found.failure, Exception):
        # The stand-ins for int and math may be what stood in the way.
        found = _attempt(target, module, target.sizes("opt"), keep_numbers=False)
    if found.larger is not None:
        found = _better(found, _attempt(target, module, found.larger, keep_numbers=found.keeps_numbers))
    if isinstance(found.failure, Violation) and (other := _other_sizes(target, found.failure)):
        moved = _attempt(target, module, other, keep_numbers=found.keeps_numbers)
        if further := _beyond(target, found.failure, moved):
            moved = _better(moved, _attempt(target, module, further, keep_numbers=found.keeps_numbers))
        found = _better(found, moved)
    return found


def _better(found: _Attempt, moved: _Attempt) -> _Attempt:
    """Return the attempt at other sizes; if neither holds, the first, which tells the sizes around the traced ones."""
    return found if found.failure is not None and moved.failure is not None else moved


def _along_paths(target: Target, module: nn.Module, found: _Attempt) -> tuple[Mapping[str, Axis], Violation | None]:
    """Return the ranges for which a trace holds on every way through ``module``, and what forbids it."""

    def follow(sizes: Mapping[str, int]) -> Sequence[Guard]:
        with quiet():
            inputs = example_inputs(target, sizes)
            guards, is_whole = followed(module, target.inputs, inputs, sizes, keep_numbers=found.keeps_numbers)
        # what only a run with data gets through is known at these sizes alone
        return guards if is_whole or not runs(module, inputs) else only_at(sizes)

    return restrict_along_paths(found.asked, target.axes, found.agrees, found.sizes, follow)


def _attempt(target: Target, module: nn.Module, sizes: Mapping[str, int], *, keep_numbers: bool) -> _Attempt:
    inputs = example_inputs(target, sizes)
    dynamic = tuple(
        {i: _hint(dim, target) for i, dim in enumerate(spec.shape) if isinstance(dim, str)} for spec in target.inputs
    )
    questions = SizeQuestions(module, target.inputs, target.sizes("max"))
    program: torch.export.ExportedProgram | None = None
    failure: Exception | Violation | None = None
    try:
        with quiet(), torch.no_grad(), unsolved(), questions.noted(keep_numbers=keep_numbers):
            shapes = for_signature(module, dynamic)
            program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
        with quiet():
            program = with_chosen_elements(without_transforms(target.name, without_raised(program)))
    except Exception as error:  # the user's forward and torch may raise anything
        failure = error
    larger = questions.guards.larger_sizes(target.axes)
    asked = questions.asked(sizes, lambda: run_copy(module, inputs))
    if program is not None:
        asked += questions.guards.rounded_sizes(program)
    agrees = _Agreement(target, module, program)
    axes, violation = restrict(asked, target.axes, agrees)
    if violation is None and program is not None:
        violation = next(_fixed(target, program, questions.guards.guards()), None)
    failure = violation if violation is not None else failure
    return _Attempt(program, axes, failure, larger, keep_numbers, sizes, asked, agrees)


def _other_sizes(target: Target, violation: Violation) -> Mapping[str, int] | None:
    """Return sizes to trace at instead of a size that a module treats by itself; None if the trace held at several.

    One that an operator asked for, and no branch, is asked otherwise at the largest sizes: where a map is one pixel
    high, torch chooses strides by it.

    A table of positions that was trained for one size is taken as it is there, and resized everywhere else: a graph of
    the branch for everywhere else is right at that size, too, which ``restrict`` then finds by running it. Every axis
    but the batch moves, since there may be another table, as of a clip's frames, and by different steps, since
    ``h == w`` may be asked as well, and beyond the sizes that are padded to that one.
    """
    sizes, largest = optima(target.axes), target.sizes("max")
    if violation.axis and not violation.is_of_one_size:
        return None if violation.guard.is_branch or sizes == largest else largest
    inner = (dim for spec in target.inputs for dim in spec.shape[1:] if isinstance(dim, str))
    names = {*violation.guard.axes, *(name for dim in inner for name in names_in(dim))}
    for step, name in enumerate([name for name in target.axes if name in names], 1):
        opt = target.axes[name].opt
        alike = {opt, *violation.allowed} if name == violation.axis else {opt}
        near = sorted((abs(size - opt), -size) for size in target.axes[name].sizes if size not in alike)[:step]
        sizes[name] = -near[-1][1] if near else opt
    return sizes


def _beyond(target: Target, first: Violation, moved: _Attempt) -> Mapping[str, int] | None:
    """Return sizes on the other side of both branches, the one of ``first`` and what ``moved`` met; None without any.

    Beside a table of one size there may be a branch whose other side is the same function: a resize of maps that differ
    by one pixel, or windows that are padded. The trace that holds everywhere is made where it takes that side.
    """
    second = moved.failure
    if not isinstance(second, Violation) or not (first.guard.is_branch and second.guard.is_branch):
        return None
    names = [name for name in moved.sizes if name in first.guard.axes or name in second.guard.axes]

    def near(name: str) -> list[int]:
        return sorted(target.axes[name].sizes, key=lambda size: abs(size - moved.sizes[name]))

    for sizes in itertools.islice(itertools.product(*map(near, names)), COMBINATIONS):
        found = {**moved.sizes, **dict(zip(names, sizes, strict=True))}
        if not (first.guard.holds(found) or second.guard.holds(found)):
            return found
    return None


def _fixed(target: Target, program: torch.export.ExportedProgram, guards: Sequence[Guard]) -> Iterator[Violation]:
    """Yield axes that are fixed in ``program`` though it holds at other sizes: a layer was traced for one size."""
    for dim, size in input_sizes(program, target.inputs):
        if isinstance(dim, str) and not is_dynamic(size):
            axis = names_in(dim)[0]
            fixing = fixing_guard(guards, axis, target.axes[axis])
            yield Violation(replace(fixing, call=_unrolled(program)), axis, (target.axes[axis].opt,))


def _unrolled(program: torch.export.ExportedProgram) -> str:
    """Return the name of the recurrent layer in ``program`` that fixes its length, or "that call"."""
    layers = {"lstm": "nn.LSTM", "gru": "nn.GRU", "rnn_tanh": "nn.RNN", "rnn_relu": "nn.RNN"}
    called = (str(node.target).split(".")[1:2] for node in program.graph.nodes if node.op == "call_function")
    return next((layers[name[0]] for name in called if name and name[0] in layers), "that call")


class _Agreement:
    """Return True if a program returns what ``module`` does at some sizes; False if either cannot run."""

    def __init__(self, target: Target, module: nn.Module, program: torch.export.ExportedProgram | None) -> None:
        self._target, self._module, self._program = target, module, program
        self._known: dict[tuple[tuple[str, int], ...], bool] = {}

    def __call__(self, sizes: Mapping[str, int]) -> bool:
        key = tuple(sorted(sizes.items()))
        if key not in self._known:
            self._known[key] = self._program is not None and _agrees(self._target, self._module, self._program, sizes)
        return self._known[key]


def _agrees(target: Target, module: nn.Module, program: torch.export.ExportedProgram, sizes: Mapping[str, int]) -> bool:
    inputs = example_inputs(target, sizes)
    try:
        with quiet(), torch.no_grad(), uncompiled():
            expected = tree_leaves(module(*inputs))
            found = tree_leaves(_unguarded(program)(*inputs))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * _size(other), equal_nan=True)
    except Exception:  # the module, the program or the comparison: in each case they do not agree
        return False
    return True


def _size(value: object) -> float:
    """The largest magnitude of an output: a softmax over a whole image is far below 1 everywhere."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return 0.0
    return float(value.abs().where(value.isfinite(), 0.0).max()) if value.numel() else 0.0


def _unguarded(program: torch.export.ExportedProgram) -> nn.Module:
    """Return the program as a module that runs at any size, to see if it holds at more than torch claims."""
    runs = program.module(check_guards=False)
    # These hooks compare the inputs with the ranges to which torch narrowed them.
    runs._forward_pre_hooks.clear()
    return runs


def _hint(dim: str, target: Target) -> object:
    """Return a size that torch may restrict: the guards tell how it did, and they are judged here."""
    ends = [size_of(dim, target.sizes(end)) for end in ("min", "max")]
    return torch.export.Dim.AUTO(min=min(ends), max=max(ends))


def for_signature(module: nn.Module, dynamic: tuple[dict[int, object], ...]) -> tuple[object, ...]:
    """``dynamic`` as torch.export wants it: all that ``*tensors`` of ``forward(x, *tensors)`` takes is one entry."""
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    first = kinds.index(inspect.Parameter.VAR_POSITIONAL) if inspect.Parameter.VAR_POSITIONAL in kinds else len(dynamic)
    return (*dynamic[:first], dynamic[first:]) if first < len(dynamic) else dynamic


def _refusal(target: Target, failure: Exception | Violation | None, tie: str = "") -> ModuleRefused:
    if isinstance(failure, Violation):
        if tie:
            both = " and ".join(map(repr, sorted(tie.split("="))))
            return ModuleRefused(
                f"{target.name} {failure}; it takes other sizes if these are the same: tie the axes, with {tie} in "
                f"--dynamic, or leave {both} out"
            )
        first = target.advice_on_sizes() if failure.axis in ("height", "width") else ""
        return ModuleRefused(f"{target.name} {failure}; {first}{advice_on(failure)}")
    if isinstance(failure, ModuleRefused):
        return failure
    if failure is None:
        return ModuleRefused(f"{target.name} cannot be traced: torch.export returned nothing; see --debug")
    advice = "rewrite what depends on the values of a tensor, or leave axes out of --dynamic; --debug shows where"
    return ModuleRefused(f"{target.name} cannot be traced: {raised(failure)}; {remedy(failure, advice)}")


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
