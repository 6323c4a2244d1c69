"""Which sizes a trace holds for, and the line of Python that decided it.

torch.export runs the module once, at the traced sizes. Wherever Python asks about a size (``if h % 2``, ``int(h)``,
whether two sizes broadcast) the answer at the traced size becomes a guard of the trace. Left to itself torch either
refuses without a line, or lets the axis become a constant (pytorch/pytorch#148886, #157621). Here every guard is noted
with the user's line, then evaluated at the sizes of the claimed range. What holds everywhere is no restriction. If the
sizes at which the guards hold include every multiple of a number, the smallest such number becomes a stated constraint.
Anything else is a refusal that names the line.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from sympy.printing.pycode import PythonCodePrinter  # type: ignore[import-untyped]
from torch import nn

from ...errors import InputError
from ...modules.dimension import is_name, multiples, names_in, size_of
from ...modules.target import Axis, TensorSpec
from ...modules.user_line import frames, line_of

# A longer range is sampled: both ends, everything near the optimum, and evenly spaced sizes between them.
EVERY_SIZE = 2048
# Guards over several axes are evaluated on a grid of at most so many combinations.
COMBINATIONS = 10_000
# Floats that differ by less are equal: sympy prints 15 digits of them.
FLOAT_DIGITS = 1e-12
# Multiples of a larger number than this are not looked for on several axes at once.
LARGEST_STEP = 128
# A guard that does not hold at some sizes is tried by running at most so many of them.
TRIALS = 6
# Where torch asks only to choose strides or a way to compute them: the traced graph is the same for either answer.
_CHOICES_OF_STRIDES = frozenset(
    {
        "_reshape_view_helper_core_alg",
        "_reshape_view_helper",
        "check_contiguous_sizes_strides",
        "is_channels_last_contiguous_2d",
        "is_channels_last_contiguous_3d",
        "is_non_overlapping_and_dense_or_false",
        "compute_elementwise_output_logical_to_physical_perm",
    }
)


@dataclass(frozen=True)
class Guard:
    """One answer that the trace depends on, over the names of axes, and the line that asked ("" if torch did).

    ``call`` names what the module calls there if the module would hold without it: PyTorch traces that for one size.
    """

    condition: sympy.Basic
    line: str
    call: str = ""

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes that it speaks of, those that its dimensions are tied to among them."""
        return tuple(sorted({name for symbol in self.condition.free_symbols for name in names_in(str(symbol))}))

    @property
    def branches(self) -> bool:
        """Whether the line that asked is a branch, as far as its text tells."""
        return bool(re.search(r"\b(if|elif|while|assert|and|or|not)\b", self.line))

    @property
    def scales(self) -> bool:
        """Whether the line that asked resizes by a factor."""
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

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether the trace holds at these sizes; where it cannot be evaluated, it does not."""
        return bool(_at(self.condition, sizes) == 1)

    def __str__(self) -> str:
        signs = {sympy.Eq: "==", sympy.Ne: "!=", sympy.Gt: ">", sympy.Lt: "<", sympy.Ge: ">=", sympy.Le: "<="}
        sign = signs.get(type(self.condition))
        return f"{self.condition.args[0]} {sign} {self.condition.args[1]}" if sign else str(self.condition)


@dataclass(frozen=True)
class Violation:
    """Why a trace does not hold over the whole claimed range: the guard, and the one axis it is about, if one.

    ``allowed`` are the sizes of that axis (of those tried, for a long range) at which the trace does hold. ``narrower``
    is the part of the range, around the traced size, that holds most of them evenly spaced; None if there is no such.
    """

    guard: Guard
    axis: str = ""
    allowed: tuple[int, ...] = ()
    narrower: Axis | None = None

    def __str__(self) -> str:
        where = f" at {self.guard.line}" if self.guard.line else ""
        if len(self.allowed) == 1:
            return f"fixes the axis {self.axis!r} at {self.allowed[0]}{where}"
        if self.axis:
            return f"holds only for {self.axis} {_listed(self.allowed)}{where}"
        return f"holds only where {self.guard}{where}"


# Whether the traced program computes what the module does at these sizes.
Agrees = Callable[[Mapping[str, int]], bool]


class TraceGuards:
    """While active, notes what the tracing of ``module`` assumes of its inputs' dynamic sizes."""

    def __init__(self, module: nn.Module, inputs: Sequence[TensorSpec]) -> None:
        self._module = module
        self._inputs = inputs
        self._symbols: dict[sympy.Symbol, str] = {}
        self._noted: list[tuple[sympy.Basic, str]] = []
        self._choices: list[sympy.Basic] = []
        self._env: Any = None
        self._hook: Any = None

    def __enter__(self) -> TraceGuards:
        self._hook = self._module.register_forward_pre_hook(self._see, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hook.remove()

    def _see(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        for spec, tensor in zip(self._inputs, tensors, strict=False):
            for dim, size in zip(spec.shape, tensor.shape, strict=True):
                if isinstance(dim, str) and isinstance(size, torch.SymInt):
                    self._symbols[size.node._expr] = dim
                    if self._env is None:
                        self._env = size.node.shape_env
                        self._env.guards = _Noting(self._env.guards, self._noted, self._choices)

    def larger_sizes(self, axes: Mapping[str, Axis]) -> dict[str, int] | None:
        """Sizes to trace at instead, None where there is no need.

        Where the size of an inner tensor is 1 when torch chooses its strides, torch takes it for 1 from then on,
        without another guard, and broadcasts accordingly. Traced where it is not, it is right at 1 as well.
        """
        traced, largest = ({name: getattr(axis, end) for name, axis in axes.items()} for end in ("opt", "max"))
        ones = [size for expression in self._choices for size in _taken_for_one(expression.xreplace(self._names))]
        growing = [size for size in ones if _at(size, traced) == 1 != _at(size, largest)]
        if not growing:
            return None
        # Multiples of the optimum, because what divides it may matter.
        multiples = ({name: min(times * axis.opt, axis.max) for name, axis in axes.items()} for times in range(2, 9))
        return next((sizes for sizes in multiples if all(_at(size, sizes) != 1 for size in growing)), largest)

    @property
    def _names(self) -> dict[sympy.Symbol, sympy.Symbol]:
        return {symbol: sympy.Symbol(name, integer=True, positive=True) for symbol, name in self._symbols.items()}

    def guards(self) -> list[Guard]:
        """Every guard over named axes, each once, in the order in which Python asked."""
        names = self._names
        found: dict[sympy.Basic, str] = {}
        for expression, line in self._noted:
            condition = expression.xreplace(names)
            if condition not in found or (line and not found[condition]):
                found[condition] = line
        known = {str(name) for name in names.values()}
        return [
            Guard(condition, line)
            for condition, line in found.items()
            if condition.free_symbols and {str(symbol) for symbol in condition.free_symbols} <= known
        ]


class _Noting(list[Any]):
    """A trace's list of guards that also notes the user's line of each as it is added."""

    def __init__(
        self, present: Iterable[Any], noted: list[tuple[sympy.Basic, str]], choices: list[sympy.Basic]
    ) -> None:
        super().__init__(present)
        self._noted, self._choices = noted, choices
        noted += [(guard.expr, "") for guard in self]

    def append(self, guard: Any) -> None:
        super().append(guard)
        if getattr(guard.sloc.framework_loc, "name", "") not in _CHOICES_OF_STRIDES:
            self._noted.append((guard.expr, line_of(frames())))
        else:
            self._choices.append(guard.expr)

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)  # a copied program is done with noting


def _taken_for_one(condition: sympy.Basic) -> Iterator[sympy.Basic]:
    """The sizes of which ``condition`` says that they are 1."""
    for part in sympy.And.make_args(condition):
        if isinstance(part, sympy.Eq) and part.args[1] == 1:
            yield part.args[0]


def restrict(
    guards: Sequence[Guard], axes: Mapping[str, Axis], agrees: Agrees
) -> tuple[dict[str, Axis], Violation | None]:
    """The ranges for which the trace holds, and the first guard that no multiples of a number satisfy.

    Each axis comes back as it was, or with a ``multiple`` and its ends moved inwards to multiples of it. A guard that
    does not hold at a size is no restriction where the program ``agrees`` with the module there: the other side of
    ``if h != 7: x = pool(x, 7)`` is the same function.
    """
    kept = dict(axes)
    traced = {name: axis.opt for name, axis in axes.items()}
    for axis, about in itertools.groupby(sorted((g for g in guards if len(g.axes) == 1), key=_axes), key=_axes):
        name = axis[0]
        narrowed, violation = _narrowed(list(about), name, kept[name], lambda sizes: agrees(traced | dict(sizes)))
        if violation is not None:
            return kept, violation
        kept[name] = narrowed
    for guard in guards:
        failing = _failing(guard, kept) if len(guard.axes) > 1 else []
        if failing and not _settled(failing, lambda sizes: agrees(traced | dict(sizes))):
            found = _by_multiples(guard, kept)
            if found is None:
                return kept, Violation(guard)
            kept = found
    return kept, None


def is_dynamic(size: Any) -> bool:
    """Return True if a size of a traced tensor is not a number."""
    return isinstance(size, torch.SymInt) and not size.node.expr.is_number


def fixing_guard(guards: Sequence[Guard], name: str, axis: Axis) -> Guard:
    """Return the guard that leaves one size of the axis, one without a line if none does."""
    alone = (guard for guard in guards if guard.axes == (name,) and len(_failing(guard, {name: axis})) > 1)
    found = (guard for guard in alone if not any(guard.holds({name: size}) for size in (axis.min, axis.max)))
    return next(found, Guard(sympy.Eq(sympy.Symbol(name, integer=True, positive=True), axis.opt), ""))


def _axes(guard: Guard) -> tuple[str, ...]:
    return guard.axes


def _narrowed(guards: Sequence[Guard], name: str, axis: Axis, agrees: Agrees) -> tuple[Axis, Violation | None]:
    tried = _sizes(axis)
    held: dict[Guard, list[int]] = {}
    for guard in guards:
        failing = {sizes[name] for sizes in _failing(guard, {name: axis})}
        if failing and not _settled([{name: size} for size in sorted(failing)], agrees):
            held[guard] = [size for size in tried if size not in failing]
    if not held:
        return axis, None
    # the guard that leaves least is the one to speak of
    worst = min(held, key=lambda guard: len(held[guard]))
    allowed = [size for size in tried if all(size in sizes for sizes in map(set, held.values()))]
    if axis.opt not in allowed:
        return axis, Violation(worst)
    if len(held[worst]) == 1:
        return axis, Violation(worst, name, (axis.opt,))

    def holds(size: int) -> bool:
        return all(_holds(guard, {name: size}) for guard in held)

    found, part = _smallest_step(axis, holds), _longest_part(axis, holds)
    if found is None or (part is not None and len(part.sizes) > len(found.sizes)):
        return axis, Violation(worst, name, tuple(allowed), part)
    return found, None


def _steps(axis: Axis) -> list[int]:
    """Numbers whose multiples the axis may be left with, in order: those that divide the traced size."""
    return [step for step in range(axis.multiple, axis.opt + 1, axis.multiple) if axis.opt % step == 0]


def _smallest_step(axis: Axis, holds: Callable[[int], bool]) -> Axis | None:
    """The multiples in the range of the smallest number at all of whose multiples ``holds`` is true; None for one."""
    ranges = (_multiples(axis, step) for step in _steps(axis))
    return next((found for found in ranges if found.min < found.max and all(map(holds, _sizes(found)))), None)


def _longest_part(axis: Axis, holds: Callable[[int], bool]) -> Axis | None:
    """The longest row of equally spaced sizes around the traced one at which ``holds`` is true; None for one size."""
    rows = []
    for step in _steps(axis):
        below = list(itertools.takewhile(holds, range(axis.opt, axis.min - 1, -step)))
        above = list(itertools.takewhile(holds, range(axis.opt, axis.max + 1, step)))
        if len(below) + len(above) > 2:
            rows.append(Axis(below[-1], axis.opt, above[-1], step))
    return max(rows, key=lambda row: len(row.sizes), default=None)


def _multiples(axis: Axis, step: int) -> Axis:
    step = math.lcm(step, axis.multiple)
    return replace(axis, min=-(-axis.min // step) * step, max=axis.max // step * step, multiple=step)


def _by_multiples(guard: Guard, axes: Mapping[str, Axis]) -> dict[str, Axis] | None:
    """The axes with the smallest multiples at which ``guard`` holds, where there are any."""
    choices = [[step for step in _steps(axes[name]) if step <= LARGEST_STEP] for name in guard.axes]
    for steps in sorted(itertools.product(*choices), key=lambda steps: (math.prod(steps), steps)):
        found = dict(axes)
        for name, step in zip(guard.axes, steps, strict=True):
            found[name] = _multiples(axes[name], step)
        if all(found[name].min < found[name].max for name in guard.axes) and not any(_failures(guard, found)):
            return found
    return None


def _failing(guard: Guard, axes: Mapping[str, Axis]) -> list[dict[str, int]]:
    """The sizes at which ``guard`` does not hold, of all that are tried."""
    return list(_failures(guard, axes))


def _failures(guard: Guard, axes: Mapping[str, Axis]) -> Iterator[dict[str, int]]:
    names = guard.axes
    count = EVERY_SIZE if len(names) == 1 else max(3, int(COMBINATIONS ** (1 / len(names))))
    tried = itertools.product(*(_sizes(axes[name], count) for name in names))
    combinations = (dict(zip(names, sizes, strict=True)) for sizes in tried)
    return (sizes for sizes in combinations if not _holds(guard, sizes))


def _holds(guard: Guard, sizes: Mapping[str, int]) -> bool:
    return guard.holds(sizes) or _is_of_size_one(guard, sizes)


def _settled(failing: Sequence[Mapping[str, int]], agrees: Agrees) -> bool:
    """Return True if the trace is right at ``failing`` sizes after all, by running some that are spread over them.

    They are the golden section apart: even steps would meet only multiples of a window.
    """
    golden = (math.sqrt(5) - 1) / 2
    spread = {int(len(failing) * (golden * number % 1)) for number in range(TRIALS - 1)}
    return all(agrees(failing[index]) for index in sorted({*spread, len(failing) - 1}))


def _is_of_size_one(guard: Guard, sizes: Mapping[str, int]) -> bool:
    """Whether the guard only says that some size is not 1, at sizes where it is 1.

    torch asks this for strides and broadcasting everywhere, mostly without consequence. What does depend on it
    shows at the smallest sizes, which every verdict compares.
    """
    if not isinstance(guard.condition, (sympy.Ne, sympy.Gt, sympy.Ge)):
        return False
    size, bound = guard.condition.args
    if bound not in (1, 2):
        return False
    return bool(_at(size, sizes) == 1)


def _at(expression: sympy.Basic, sizes: Mapping[str, int]) -> Any:
    """The value of ``expression`` at these sizes (true is 1), None where it has none."""
    names, function = _compiled(expression)
    try:
        return function(*(size_of(name, sizes) for name in names))
    except (ArithmeticError, TypeError, NameError, ValueError, InputError):
        return None


@functools.lru_cache(maxsize=4096)
def _compiled(expression: sympy.Basic) -> tuple[tuple[str, ...], Callable[..., Any]]:
    """``expression`` as a Python function of these dimensions: substituting in sympy is a hundred times slower."""
    symbols = {str(symbol): symbol for symbol in expression.free_symbols}
    names = tuple(sorted(symbols))
    if isinstance(expression, (sympy.Eq, sympy.Ne)) and expression.has(sympy.Float):
        # sympy prints a float with fewer digits than it has
        gap = sympy.Abs(expression.args[0] - expression.args[1])
        expression = gap < FLOAT_DIGITS if isinstance(expression, sympy.Eq) else gap >= FLOAT_DIGITS
    arguments = [symbols[name] for name in names]
    return names, sympy.lambdify(arguments, expression, modules=[_PYTHON], printer=_Printer)


class _Printer(PythonCodePrinter):  # type: ignore[misc]
    """Prints every function as a call: as operators, torch's remainders of sums lose their parentheses."""

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__({**(settings or {}), "fully_qualified_modules": False, "allow_unknown_functions": True})

    def _print_Mod(self, expression: sympy.Basic) -> str:
        return f"Mod({', '.join(map(self._print, expression.args))})"


# torch's own functions of sizes, as Python computes them.
_PYTHON: dict[str, Any] = {
    "Mod": operator.mod,
    "PythonMod": operator.mod,
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "CeilDiv": lambda a, b: -(-a // b),
    "IntTrueDiv": operator.truediv,
    "FloatTrueDiv": operator.truediv,
    "ToFloat": float,
    "FloorToInt": math.floor,
    "CeilToInt": math.ceil,
    "TruncToInt": math.trunc,
    "TruncToFloat": lambda a: float(math.trunc(a)),
    "RoundToInt": round,
    "FloatPow": math.pow,
    "PowByNatural": operator.pow,
    "Max": max,
    "Min": min,
    "Identity": lambda a: a,
    "Abs": abs,
}


def _sizes(axis: Axis, count: int = EVERY_SIZE) -> list[int]:
    """Sizes of the range to try, in order: all of them where they are few."""
    sizes = range(axis.min, axis.max + 1, axis.multiple)
    if len(sizes) <= count:
        return list(sizes)
    if count < 16:
        step = (len(sizes) - 1) / (count - 1)
        return sorted({sizes[round(index * step)] for index in range(count)} | {axis.opt})
    ends = count // 4
    step = len(sizes) // ends
    near = [size for size in sizes if abs(size - axis.opt) <= ends // 2 * axis.multiple]
    return sorted({*sizes[:ends], *sizes[-ends:], *near, *sizes[::step]})


def _listed(sizes: Sequence[int]) -> str:
    if not sizes:
        return "of no size in its range"
    if len(sizes) > 2 and sizes[-1] - sizes[0] == len(sizes) - 1:
        return f"{sizes[0]} to {sizes[-1]}"
    return ", ".join(str(size) for size in sizes[:6]) + (", …" if len(sizes) > 6 else "")
