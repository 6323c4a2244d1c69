"""The part of the claimed ranges for which a trace holds.

Guards are evaluated at the sizes of the ranges. A guard that holds everywhere is no restriction. If the sizes at which
the guards hold include every multiple of a number, the smallest such number becomes a stated constraint. Anything else
is a refusal that names the line.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import sympy  # type: ignore[import-untyped]

from ...core.tensor_spec import Axis, optima
from .guards import Guard
from .size_values import size_at
from .unproven import MOST_SIZES, Unproven

# A longer range is sampled: both ends, everything near the optimum, and evenly spaced sizes between them.
EVERY_SIZE = 2048
# Guards over several axes are evaluated on a grid of at most so many combinations.
COMBINATIONS = 10_000
# Sizes that a message names.
SHOWN = 6
# Multiples of a larger number than this are not looked for on several axes at once.
LARGEST_STEP = 128
# A guard that does not hold at some sizes is tried by running at most so many of them.
TRIALS = 6


@dataclass(frozen=True)
class Violation:
    """The reason why a trace does not hold over the whole claimed range: the guard, and its axis if it has only one.

    ``allowed`` are the sizes of that axis (of those tried, for a long range) at which the trace does hold, and
    ``excluded`` the others. ``narrower`` is the part of the range, around the traced size, that holds most of them
    evenly spaced; None if there is no such. ``elsewhere`` is one that holds more and not the traced size.
    """

    guard: Guard
    axis: str = ""
    allowed: tuple[int, ...] = ()
    narrower: Axis | None = None
    excluded: tuple[int, ...] = ()
    elsewhere: Axis | None = None

    @property
    def is_of_one_size(self) -> bool:
        """True if a branch asked for one size, or for one to which a row of them is padded, and the trace took it."""
        is_equal = self.guard.is_branch and isinstance(self.guard.condition, sympy.Eq)
        return len(self.allowed) == 1 or (is_equal and _is_row(self.allowed))

    def __str__(self) -> str:
        where = f" at {self.guard.line}" if self.guard.line else ""
        holds, does_not = self.guard.verbs
        if len(self.allowed) == 1:
            return f"fixes the axis {self.axis!r} at {self.allowed[0]}{where}"
        if len(self.excluded) < len(self.allowed) and len(self.excluded) <= SHOWN and not _is_row(self.allowed):
            return f"{does_not} for {self.axis} {_listed(self.excluded)}{where}"
        if self.axis:
            return f"{holds} only for {self.axis} {_listed(self.allowed)}{where}"
        return f"{holds} only if {self.guard}{where}"


# True if the traced program computes what the module does at these sizes.
Agrees = Callable[[Mapping[str, int]], bool]


def restrict(
    guards: Sequence[Guard], axes: Mapping[str, Axis], agrees: Agrees
) -> tuple[dict[str, Axis], Violation | None]:
    """The ranges for which the trace holds, and the first guard that no multiples of a number satisfy.

    Each axis comes back as it was, or with a ``multiple`` and its ends moved inwards to multiples of it. A guard that
    does not hold at a size is no restriction if the program ``agrees`` with the module there: the other side of
    ``if h != 7: x = pool(x, 7)`` is the same function.
    """
    kept = dict(axes)
    traced = optima(axes)
    hiding = [guard for guard in guards if isinstance(guard, Unproven)]
    guards = [guard for guard in guards if not isinstance(guard, Unproven)]
    for axis, about in itertools.groupby(sorted((g for g in guards if len(g.axes) == 1), key=_axes), key=_axes):
        name = axis[0]
        narrowed, violation = _narrowed(list(about), name, kept[name], lambda sizes: agrees(traced | dict(sizes)))
        if violation is not None:
            return kept, violation
        kept[name] = narrowed
    for guard in guards:
        failing = failing_sizes(guard, kept) if len(guard.axes) > 1 else []
        if failing and not (guard.settles and is_settled(failing, lambda sizes: agrees(traced | dict(sizes)))):
            if parts := _parts(guard):
                kept, violation = restrict(parts, kept, lambda _: False)
                if violation is not None:
                    return kept, violation
                continue
            found = _by_multiples(guard, kept)
            if found is None:
                return kept, Violation(guard)
            kept = found
    return kept, next(map(Violation, unproven(hiding, kept, agrees)), None)


def unproven(guards: Sequence[Guard], axes: Mapping[str, Axis], agrees: Agrees) -> list[Guard]:
    """Return the guards of lines that hide something, unless the trace was run at each of the sizes and ``agrees``."""

    def is_proven(guard: Unproven) -> bool:
        sizes, others = failing_sizes(guard, axes), {name: size for name, size in guard.at if name not in guard.axes}
        is_claimed = all(size in axes[name].sizes for name, size in others.items())
        return not is_claimed or (len(sizes) <= MOST_SIZES and all(agrees(others | one) for one in sizes))

    return [guard for guard in guards if isinstance(guard, Unproven) and not is_proven(guard)]


def fixing_guard(guards: Sequence[Guard], name: str, axis: Axis) -> Guard:
    """Return the guard that leaves one size of the axis, one without a line if none does."""
    alone = (guard for guard in guards if guard.axes == (name,) and len(failing_sizes(guard, {name: axis})) > 1)
    found = (guard for guard in alone if not any(guard.holds({name: size}) for size in (axis.min, axis.max)))
    return next(found, Guard(sympy.Eq(sympy.Symbol(name, integer=True, positive=True), axis.opt), ""))


def _axes(guard: Guard) -> tuple[str, ...]:
    return guard.axes


def _narrowed(guards: Sequence[Guard], name: str, axis: Axis, agrees: Agrees) -> tuple[Axis, Violation | None]:
    failing = {guard: {sizes[name] for sizes in failing_sizes(guard, {name: axis})} for guard in guards}
    tried = sorted({*_sizes(axis), *itertools.chain.from_iterable(failing.values())})
    held: dict[Guard, list[int]] = {}
    for guard, sizes in failing.items():
        if sizes and not (guard.settles and is_settled([{name: size} for size in sorted(sizes)], agrees)):
            held[guard] = [size for size in tried if size not in sizes]
    if not held:
        return axis, None
    # the guard that leaves least is the one to speak of
    worst = min(held, key=lambda guard: len(held[guard]))
    holds = _Together(list(held), name, axis, tried, agrees)
    if not holds(axis.opt):
        return axis, Violation(worst)
    if len(held[worst]) == 1:
        return axis, Violation(worst, name, (axis.opt,))
    found, part = _smallest_step(axis, tried, holds), _longest_part(axis, holds)
    if found is None or (part is not None and _holds_more(part, found)):
        elsewhere = _elsewhere(axis, holds, found or part)
        allowed = tuple(filter(holds.is_known, tried))
        excluded = tuple(size for size in tried if size not in {*allowed})
        return axis, Violation(worst, name, allowed, part, excluded, elsewhere)
    return found, None


class _Together:
    """Return True if a trace is right at a size of an axis, where some guards hold and others do not.

    A guard may fail without consequence where every other holds, and with them elsewhere: windows that are padded at
    some multiples of 32, of an image that has to have such sizes. So the trace is run where the same guards fail.
    """

    def __init__(self, guards: Sequence[Guard], name: str, axis: Axis, tried: Sequence[int], agrees: Agrees) -> None:
        self._guards, self._name, self._axis, self._tried, self._agrees = guards, name, axis, tried, agrees
        self._failing: dict[int, frozenset[Guard]] = {}
        self._right = {frozenset[Guard](): True}

    def __call__(self, size: int) -> bool:
        failing = self._failing_at(size)
        if failing not in self._right:
            alike = [{self._name: other} for other in self._tried if self._failing_at(other) == failing]
            can_be_run = bool(alike) and all(guard.settles for guard in failing)
            self._right[failing] = can_be_run and is_settled(alike, self._agrees)
        return self._right[failing]

    def is_known(self, size: int) -> bool:
        """Return True if the trace is right at a size, as far as it has been run."""
        return self._right.get(self._failing_at(size), False)

    def _failing_at(self, size: int) -> frozenset[Guard]:
        if size not in self._failing:
            sizes, axes = {self._name: size}, {self._name: self._axis}
            self._failing[size] = frozenset(guard for guard in self._guards if not holds_at(guard, sizes, axes))
        return self._failing[size]


def _holds_more(part: Axis, multiples: Axis) -> bool:
    """Return True for a row of sizes that are more than the multiples, and no small part of their range."""
    reach = part.max - part.min, multiples.max - multiples.min
    return len(part.sizes) > len(multiples.sizes) and 2 * reach[0] >= reach[1]


def _steps(axis: Axis) -> list[int]:
    """Numbers whose multiples the axis may be left with, in order: those that divide the traced size."""
    return [step for step in range(axis.multiple, axis.opt + 1, axis.multiple) if axis.opt % step == 0]


def _smallest_step(axis: Axis, tried: Sequence[int], holds: Callable[[int], bool]) -> Axis | None:
    """The multiples in the range of the smallest number at all of whose multiples ``holds`` is true; None for one."""
    ranges = (_multiples(axis, step) for step in _steps(axis))
    return next((found for found in ranges if found.min < found.max and all(map(holds, _among(found, tried)))), None)


def _among(axis: Axis, tried: Sequence[int]) -> list[int]:
    """Return sizes of the range to try, those that were tried of a longer range among them."""
    return sorted({*_sizes(axis), *(size for size in tried if size in axis.sizes)})


def _longest_part(axis: Axis, holds: Callable[[int], bool]) -> Axis | None:
    """The longest row of equally spaced sizes around the traced one at which ``holds`` is true; None for one size."""
    rows = []
    for step in _steps(axis):
        below = list(itertools.takewhile(holds, range(axis.opt, axis.min - 1, -step)))
        above = list(itertools.takewhile(holds, range(axis.opt, axis.max + 1, step)))
        if len(below) + len(above) > 2:
            rows.append(Axis(below[-1], axis.opt, above[-1], step))
    return max(rows, key=lambda row: len(row.sizes), default=None)


def _elsewhere(axis: Axis, holds: Callable[[int], bool], best: Axis | None) -> Axis | None:
    """The multiples in the range of the smallest number at all of whose multiples ``holds`` is true.

    The traced size is another: the nearest multiple to it. None if ``best`` holds as many sizes.
    """
    for step in range(2, LARGEST_STEP + 1):
        number = math.lcm(step, axis.multiple)
        sizes = range(-(-axis.min // number) * number, axis.max + 1, number)
        if len(sizes) <= max(1, len(best.sizes) if best else 1):
            continue
        if all(map(holds, sizes)):
            return Axis(sizes[0], min(sizes, key=lambda size: abs(size - axis.opt)), sizes[-1], number)
    return None


def _parts(guard: Guard) -> list[Guard]:
    """Return guards that hold together if this one does: the smaller of two sizes is at least 8 if each of them is.

    None if it has no such parts.
    """
    condition = guard.condition
    if type(guard) is Guard and isinstance(condition, sympy.And):
        return [replace(guard, condition=part) for part in condition.args]
    if type(guard) is not Guard or not isinstance(condition, (sympy.Ge, sympy.Gt, sympy.Le, sympy.Lt)):
        return []
    splitting = ("Min", "Max") if isinstance(condition, (sympy.Ge, sympy.Gt)) else ("Max", "Min")
    sides = [
        side.args if type(side).__name__ == splits else (side,)
        for side, splits in zip(condition.args, splitting, strict=True)
    ]
    parts = [condition.func(*one) for one in itertools.product(*sides)]
    return [replace(guard, condition=part) for part in parts if part.free_symbols] if len(parts) > 1 else []


def _multiples(axis: Axis, step: int) -> Axis:
    step = math.lcm(step, axis.multiple)
    return replace(axis, min=-(-axis.min // step) * step, max=axis.max // step * step, multiple=step)


def _by_multiples(guard: Guard, axes: Mapping[str, Axis]) -> dict[str, Axis] | None:
    """Return the axes with the smallest multiples at which ``guard`` holds, if there are any."""
    choices = [[step for step in _steps(axes[name]) if step <= LARGEST_STEP] for name in guard.axes]
    for steps in sorted(itertools.product(*choices), key=lambda steps: (math.prod(steps), steps)):
        found = dict(axes)
        for name, step in zip(guard.axes, steps, strict=True):
            found[name] = _multiples(axes[name], step)
        if all(found[name].min < found[name].max for name in guard.axes) and not any(_failures(guard, found)):
            return found
    return None


def failing_sizes(guard: Guard, axes: Mapping[str, Axis]) -> list[dict[str, int]]:
    """Return the sizes of its axes at which ``guard`` does not hold, of all that are tried."""
    return _failing(guard, tuple((name, axes[name]) for name in guard.axes))


@lru_cache(maxsize=512)  # the guards of one module, asked again on each of its ways
def _failing(guard: Guard, axes: tuple[tuple[str, Axis], ...]) -> list[dict[str, int]]:
    return list(_failures(guard, dict(axes)))


def _failures(guard: Guard, axes: Mapping[str, Axis]) -> Iterator[dict[str, int]]:
    names = guard.axes
    count = EVERY_SIZE if len(names) == 1 else max(3, int(COMBINATIONS ** (1 / len(names))))
    tried = {name: _sizes(axes[name], count) for name in names}
    combinations = itertools.chain(_combined(tried), _turns(guard, axes, tried))
    return (sizes for sizes in combinations if not holds_at(guard, sizes, axes))


def _combined(tried: Mapping[str, Sequence[int]]) -> Iterator[dict[str, int]]:
    return (dict(zip(tried, sizes, strict=True)) for sizes in itertools.product(*tried.values()))


def _turns(guard: Guard, axes: Mapping[str, Axis], tried: Mapping[str, Sequence[int]]) -> Iterator[dict[str, int]]:
    """Yield sizes between the ``tried`` ones at which a comparison in the guard turns, ``n == 5003`` at one alone, and
    the numbers that the guard names."""
    gaps = [relation.lhs - relation.rhs for relation in guard.condition.atoms(sympy.core.relational.Relational)]
    numbers = [int(number) for number in guard.condition.atoms(sympy.Integer)]
    for name in (name for name in tried if len(tried[name]) < len(axes[name].sizes)):
        axis = axes[name]
        for others in _combined({other: sizes for other, sizes in tried.items() if other != name}):
            turns = (size for gap in gaps for size in _crossings(gap, name, axis, tried[name], others))
            named = (size for size in numbers if size in axis.sizes)
            yield from ({**others, name: size} for size in itertools.chain(turns, named))


def _crossings(
    gap: sympy.Basic, name: str, axis: Axis, tried: Sequence[int], others: Mapping[str, int]
) -> Iterator[int]:
    """Yield the sizes around each place between neighbours at which ``gap`` changes its sign, found by halving."""

    def sign(size: int) -> int:
        value = size_at(gap, {**others, name: size})
        return 0 if value is None else (value > 0) - (value < 0)

    signs = [sign(size) for size in tried]
    for place in (place for place in range(len(tried) - 1) if signs[place] * signs[place + 1] < 0):
        low, high = tried[place], tried[place + 1]
        while high - low > axis.multiple:
            middle = low + (high - low) // axis.multiple // 2 * axis.multiple
            if not (found := sign(middle)):
                yield middle
                break
            low, high = (middle, high) if found == signs[place] else (low, middle)


def holds_at(guard: Guard, sizes: Mapping[str, int], axes: Mapping[str, Axis]) -> bool:
    """Return True if the guard holds at these sizes of the ranges, or only an operator asks if a size is not 1.

    torch asks this for strides and broadcasting everywhere, mostly without consequence. The part that does depend on it
    shows at the smallest sizes, which every verdict compares: so the size has to be 1 there, too.
    """
    if guard.holds(sizes):
        return True
    smallest = {name: axis.min for name, axis in axes.items()}
    return not guard.is_branch and all(_is_of_size_one(guard, one) for one in (sizes, smallest))


def is_settled(failing: Sequence[Mapping[str, int]], agrees: Agrees) -> bool:
    """Return True if the trace is right at ``failing`` sizes after all, by running some that are spread over them.

    Their distance is the golden section: even steps would meet only multiples of a window.
    """
    golden = (math.sqrt(5) - 1) / 2
    spread = {int(len(failing) * (golden * number % 1)) for number in range(TRIALS - 1)}
    return all(agrees(failing[index]) for index in sorted({*spread, len(failing) - 1}))


def _is_of_size_one(guard: Guard, sizes: Mapping[str, int]) -> bool:
    """Return True if the guard only demands that some size is not 1, at sizes at which it is 1."""
    if not isinstance(guard.condition, (sympy.Ne, sympy.Gt, sympy.Ge)):
        return False
    size, bound = guard.condition.args
    if bound not in (1, 2):
        return False
    return bool(size_at(size, sizes) == 1)


def _sizes(axis: Axis, count: int = EVERY_SIZE) -> list[int]:
    """Return sizes of the range to try, in order: all of them if they are few."""
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
    if len(sizes) > 2 and _is_row(sizes):
        return f"{sizes[0]} to {sizes[-1]}"
    return ", ".join(str(size) for size in sizes[:SHOWN]) + (", …" if len(sizes) > SHOWN else "")


def _is_row(sizes: Sequence[int]) -> bool:
    return bool(sizes) and sizes[-1] - sizes[0] == len(sizes) - 1
