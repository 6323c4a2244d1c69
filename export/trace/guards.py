"""The assumptions of a trace on the sizes of its inputs, and the line of Python that decided each.

torch.export runs the module once, at the traced sizes. Wherever Python asks about a size (``if h % 2``, ``int(h)``,
whether two sizes broadcast) the answer at the traced size becomes a guard of the trace. Left to itself torch either
refuses without a line, or lets the axis become a constant (pytorch/pytorch#148886, #157621). Here every guard is noted
with the user's line; ``narrowing`` evaluates them at the sizes of the claimed ranges.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch import nn
from torch.fx.experimental.sym_node import SymNode
from torch.fx.experimental.symbolic_shapes import uninteresting_files
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from ...core.dimension import is_name, multiples, names_in, size_of
from ...core.tensor_spec import Axis, TensorSpec
from ...errors import InputError
from ...modules.user_line import frames, is_users, line_of, traced_frames
from .size_values import FLOATS, size_at

_TORCH = str(Path(torch.__file__).parent)
# Functions of torch that ask only to choose strides or a way to compute: the graph is the same for either answer.
_CHOICES_OF_STRIDES = frozenset(
    {
        "_reshape_view_helper_core_alg",
        "_reshape_view_helper",
        "are_strides_like_channels_last_or_false",
        "check_contiguous_sizes_strides",
        "compute_elementwise_output_logical_to_physical_perm",
        "ge",
        "is_channels_last_contiguous_2d",
        "is_channels_last_contiguous_3d",
        "is_contiguous",
        "is_non_overlapping_and_dense_or_false",
        "should_swap",
        "__lt__",
    }
)
# The files that answer Python's own question about a size.
_ANSWERING = (
    torch.__file__,
    str(Path(_TORCH) / "fx" / "experimental"),
    __file__,
)


@dataclass(frozen=True)
class Guard:
    """One answer that the trace depends on, over the names of axes, and the line that asked ("" if torch did).

    ``call`` names what the module calls there if the module would hold without it: PyTorch traces that for one size.
    ``is_branch`` is true if Python itself asked, and not an operator on its way.
    """

    condition: sympy.Basic
    line: str
    call: str = ""
    is_branch: bool = False

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of its axes, with those that its dimensions are tied to."""
        return tuple(sorted({name for symbol in self.condition.free_symbols for name in names_in(str(symbol))}))

    @property
    def branches(self) -> bool:
        """Return True if the line that asked is a branch, as far as its text tells."""
        return bool(re.search(r"\b(if|elif|while|assert|and|or|not)\b", self.line))

    @property
    def scales(self) -> bool:
        """Return True if the line that asked resizes by a factor."""
        return "scale_factor" in self.line

    @property
    def tie(self) -> str:
        """``NAME=expression`` of --dynamic that makes the guard hold, "" if it is no equation of that form."""
        if not isinstance(self.condition, sympy.Eq):
            return ""
        for name, other in (self.condition.args, self.condition.args[::-1]):
            text = "".join(str(other).split())
            if isinstance(name, sympy.Symbol) and is_name(str(name)) and str(name) not in map(str, other.free_symbols):
                try:
                    return f"{name}={text}" if names_in(text) and multiples(text) is not None else ""
                except InputError:
                    continue
        return ""

    @property
    def settles(self) -> bool:
        """Return True if a run of the trace shows whether it is right at sizes at which this does not hold."""
        return True

    @property
    def verbs(self) -> tuple[str, str]:
        """Return what is said of the trace at sizes at which the guard holds, and at which it does not."""
        return "holds", "does not hold"

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return True if the trace holds at these sizes; it does not if it cannot be evaluated."""
        return bool(size_at(self.condition, sizes) == 1)

    def __str__(self) -> str:
        signs = {sympy.Eq: "==", sympy.Ne: "!=", sympy.Gt: ">", sympy.Lt: "<", sympy.Ge: ">=", sympy.Le: "<="}
        sign = signs.get(type(self.condition))
        return f"{self.condition.args[0]} {sign} {self.condition.args[1]}" if sign else str(self.condition)


@dataclass(frozen=True)
class SameInFloat32(Guard):
    """A size that passes through a float: a graph computes it in float32, and Python in float64.

    ``int(h * 0.29)`` is 28 at 100 in Python, and 29 in the graph. ``condition`` is the size.
    """

    @property
    def settles(self) -> bool:
        """False: the trace computes sizes as Python does."""
        return False

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return True if the size is the same in both at these sizes, or has none in Python."""
        exact = size_at(self.condition, sizes)
        return exact is None or bool(exact == size_at(self.condition, sizes, in_float32=True))

    def __str__(self) -> str:
        return f"{self.condition} is the same in float32"


class TraceGuards:
    """While active, notes what the tracing of ``module`` assumes of its inputs' dynamic sizes.

    ``largest`` are the largest sizes of the axes, for which a graph is made.
    """

    def __init__(
        self, module: nn.Module, inputs: Sequence[TensorSpec], largest: Mapping[str, int] | None = None
    ) -> None:
        self._module = module
        self._inputs = inputs
        self._largest = largest
        self._symbols: dict[sympy.Symbol, str] = {}
        self._noted: list[tuple[sympy.Basic, str, bool]] = []
        self._choices: list[sympy.Basic] = []
        self._env: Any = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> TraceGuards:
        hook = self._module.register_forward_pre_hook(self._see, with_kwargs=True)
        self._stack.callback(hook.remove)
        self._stack.enter_context(_answers_noted())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _see(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        for spec, tensor in zip(self._inputs, tensors, strict=False):
            for dim, size in zip(spec.shape, tensor.shape, strict=True):
                if isinstance(dim, str) and isinstance(size, torch.SymInt):
                    self._symbols[size.node._expr] = dim
                    if self._env is None:
                        self._env = size.node.shape_env
                        self._env.guards = _Noting(self._env.guards, self._noted, self._choices)
                    if self._largest is not None:
                        self._env.guards.largest[size.node._expr] = size_of(dim, self._largest)

    def larger_sizes(self, axes: Mapping[str, Axis]) -> dict[str, int] | None:
        """Return sizes to trace at instead, None without need.

        If the size of an inner tensor is 1 when torch chooses its strides, torch takes it for 1 from then on,
        without another guard, and broadcasts accordingly. Traced at another size, it is right at 1 as well.
        """
        traced, largest = ({name: getattr(axis, end) for name, axis in axes.items()} for end in ("opt", "max"))
        ones = [size for expression in self._choices for size in _taken_for_one(expression.xreplace(self.names))]
        growing = [size for size in ones if size_at(size, traced) == 1 != size_at(size, largest)]
        if not growing:
            return None
        # Multiples of the optimum, because what divides it may matter.
        multiples = ({name: min(times * axis.opt, axis.max) for name, axis in axes.items()} for times in range(2, 9))
        return next((sizes for sizes in multiples if all(size_at(size, sizes) != 1 for size in growing)), largest)

    @property
    def names(self) -> dict[sympy.Symbol, sympy.Symbol]:
        """The axes by torch's symbols."""
        return {symbol: sympy.Symbol(name, integer=True, positive=True) for symbol, name in self._symbols.items()}

    def rounded_sizes(self, program: torch.export.ExportedProgram) -> list[Guard]:
        """Every size in ``program`` that passes through a float, each once, with the line that computes it."""
        names = self.names
        found: dict[sympy.Basic, Guard] = {}
        for node in program.graph.nodes:
            value = node.meta.get("val")
            for size in value.shape if isinstance(value, torch.Tensor) else (value,):
                if not isinstance(size, (torch.SymInt, torch.SymBool)):
                    continue
                expression = size.node.expr.xreplace(names)
                known = expression.free_symbols <= {*names.values()}
                if expression not in found and known and expression.has(*FLOATS):
                    found[expression] = SameInFloat32(expression, line_of(traced_frames(node)))
        # of sizes that are computed from each other, the first is the one to speak of
        return list(found.values())

    def guards(self) -> list[Guard]:
        """Every guard over named axes, each once, in the order in which Python asked."""
        names = self.names
        found: dict[sympy.Basic, Guard] = {}
        for expression, line, is_branch in self._noted:
            condition = expression.xreplace(names)
            before = found.get(condition, Guard(condition, ""))
            found[condition] = Guard(condition, before.line or line, is_branch=before.is_branch or is_branch)
        known = {str(name) for name in names.values()}
        return [
            guard
            for condition, guard in found.items()
            if condition.free_symbols and {str(symbol) for symbol in condition.free_symbols} <= known
        ]


class _Noting(list[Any]):
    """A trace's list of guards that also notes the user's line of each as it is added."""

    def __init__(
        self, present: Iterable[Any], noted: list[tuple[sympy.Basic, str, bool]], choices: list[sympy.Basic]
    ) -> None:
        super().__init__(present)
        self._noted, self._choices = noted, choices
        self.largest: dict[sympy.Symbol, int] = {}
        noted += [(guard.expr, "", False) for guard in self]

    def note(self, condition: sympy.Basic) -> None:
        """Note what torch answers for all sizes at once, and without a guard: it takes no size for 1."""
        self._noted.append((condition, line_of(frames()), True))

    def append(self, guard: Any) -> None:
        super().append(guard)
        chooses = _chooses(guard)
        if chooses:
            self._choices.append(guard.expr)
        # torch solves a plain equation for a size, and from then on does not ask for it where the module does
        if not chooses or (guard.expr.has(sympy.Eq) and not guard.expr.has(sympy.Function)):
            self._noted.append((guard.expr, line_of(frames()), not chooses and _is_branch(frames())))

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)  # a copied program is done with noting


def _chooses(guard: Any) -> bool:
    """Return True if torch asks only to choose strides or a way to compute."""
    place = guard.sloc.framework_loc
    is_torchs = getattr(place, "filename", "").startswith(_TORCH)
    return is_torchs and place.name in _CHOICES_OF_STRIDES


def largest(size: Any) -> int | None:
    """Return the most that a size can be in the ranges that a graph is made for; None if that is not known."""
    if not is_dynamic(size):
        return int(size)
    guards, expression = size.node.shape_env.guards, size.node.expr
    if not isinstance(guards, _Noting) or not expression.free_symbols <= guards.largest.keys():
        return None
    upper = bound_sympy(expression, {symbol: ValueRanges(1, most) for symbol, most in guards.largest.items()}).upper
    return int(upper) if upper.is_finite else None


@contextlib.contextmanager
def _answers_noted() -> Iterator[None]:
    """While active, what torch answers a branch of the user's without a guard is noted as well."""
    nodes: Any = SymNode
    original = nodes.guard_bool

    def guard_bool(node: Any, file: str, line: int) -> bool:
        guards, condition = node.shape_env.guards, node.expr
        before = len(guards)
        found: bool = original(node, file, line)
        # kernels ask as well, beneath the user's line, and name their own file
        is_free = isinstance(guards, _Noting) and len(guards) == before and condition.free_symbols
        if is_free and not file and _is_branch(frames()):
            guards.note(condition if found else sympy.Not(condition))
        return found

    nodes.guard_bool = guard_bool
    # torch looks for the place that asks beyond these
    answering = uninteresting_files()
    is_known = __file__ in answering
    answering.add(__file__)
    try:
        yield
    finally:
        nodes.guard_bool = original
        if not is_known:
            answering.discard(__file__)


def is_one(size: Any) -> bool:
    """Return True if a size is 1, as Python asks; the answer is a guard of the trace."""
    if is_dynamic(size) and isinstance(guards := size.node.shape_env.guards, _Noting):
        guards.note(sympy.Ne(size.node.expr, 1))
    return bool(size == 1)


def _is_branch(stack: Iterable[tuple[str, int]]) -> bool:
    """Return True if nothing lies between the user's Python and what answers it for a size."""
    for name, _ in stack:
        if is_users(name):
            return True
        if not name.startswith(_ANSWERING):
            return False
    return False


def _taken_for_one(condition: sympy.Basic) -> Iterator[sympy.Basic]:
    """The sizes of which ``condition`` says that they are 1."""
    for part in sympy.And.make_args(condition):
        if isinstance(part, sympy.Eq) and part.args[1] == 1:
            yield part.args[0]


def is_dynamic(size: Any) -> bool:
    """Return True if a size of a traced tensor is not a number."""
    return isinstance(size, torch.SymInt) and not size.node.expr.is_number
