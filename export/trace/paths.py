"""Branches inside of branches: every way that a module takes through its conditions on sizes.

A guard that fails at some sizes is settled by running the trace at a few of them. On that side the module may ask
further questions that the trace never heard, as ``if h % 8 == 3`` inside of ``if h > 16``. So the module is followed
there too, on tensors without data, and its answers note the sizes that go the same way. This repeats until each size
lies on a known way; the trace is run at some sizes of each. A module without branches on sizes is never followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import sympy  # type: ignore[import-untyped]

from ...core.tensor_spec import Axis
from .guards import Guard
from .narrowing import Agrees, Violation, failing_sizes, holds_at, is_settled, restrict, unproven

# A module that takes more ways than this is refused, or narrowed to the sizes of these.
MOST_PATHS = 64

# The guards that the module asks for at these sizes, up to the error if it fails there.
Follow = Callable[[Mapping[str, int]], Sequence[Guard]]
Sizes = dict[str, int]


@dataclass(frozen=True)
class Path:
    """A way through the branches: sizes of the ranges that take it, and the guards whose answers differ elsewhere."""

    sizes: Mapping[str, int] = field(compare=False)
    axes: Mapping[str, Axis] = field(compare=False)
    guards: tuple[Guard, ...]

    def takes(self, sizes: Mapping[str, int]) -> bool:
        """Return True if these sizes go this way."""
        return all(holds_at(guard, sizes, self.axes) for guard in self.guards)


@dataclass(frozen=True)
class OffPath(Guard):
    """The sizes that do not take ``path``, on which the trace is wrong. ``condition`` is that of its first step."""

    path: Path = field(kw_only=True)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of all steps of the path."""
        return _axes(self.path.guards)

    @property
    def settles(self) -> bool:
        """False: the trace has been run there."""
        return False

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return True if these sizes go another way."""
        return not self.path.takes(sizes)


@dataclass(frozen=True)
class OnKnownPath(Guard):
    """The sizes whose way is known, if the module takes more than are followed."""

    paths: tuple[Path, ...] = field(kw_only=True)

    @property
    def verbs(self) -> tuple[str, str]:
        """Return "proven" or not: at sizes whose way is not known, the trace may hold."""
        return "is proven", "is not proven"

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of all steps of the paths."""
        return _axes([guard for path in self.paths for guard in path.guards])

    @property
    def settles(self) -> bool:
        """False: a few runs show nothing of many ways."""
        return False

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return True if one of the paths takes these sizes."""
        return any(path.takes(sizes) for path in self.paths)

    def __str__(self) -> str:
        return f"the sizes take one of the first {len(self.paths)} ways through the module's branches"


def restrict_along_paths(
    guards: Sequence[Guard], axes: Mapping[str, Axis], agrees: Agrees, sizes: Mapping[str, int], follow: Follow
) -> tuple[dict[str, Axis], Violation | None]:
    """Return the ranges for which a trace made at ``sizes`` holds on every way, and the first guard that forbids it.

    As ``narrowing.restrict``, which judges each guard of the trace by itself.
    """
    paths, asked = Paths(guards, sizes, follow), list(guards)
    while True:
        kept, violation = restrict(asked, axes, agrees)
        wrong = [] if violation is not None else paths.wrong(kept, agrees)
        if not wrong:
            return kept, violation
        asked += wrong


class Paths:
    """The ways that a module takes through its branches on sizes, the traced one first."""

    def __init__(self, guards: Sequence[Guard], sizes: Mapping[str, int], follow: Follow) -> None:
        self._guards, self._sizes, self._follow = guards, dict(sizes), follow
        self._seen: dict[tuple[tuple[str, int], ...], Sequence[Guard]] = {}

    def wrong(self, axes: Mapping[str, Axis], agrees: Agrees) -> list[Guard]:
        """Return guards that keep the ranges from ways on which the trace is wrong, and from those not followed."""
        sizes = {name: self._sizes.get(name, axis.opt) for name, axis in axes.items()}
        paths = [_path(self._guards, sizes, axes)]
        found: list[Guard] = []
        for path in paths:  # grows
            for guard in path.guards:
                beyond = ({**path.sizes, **others} for others in failing_sizes(guard, axes))
                waiting = [one for one in beyond if not any(known.takes(one) for known in paths)]
                while waiting:
                    if len(paths) == MOST_PATHS:
                        return [*found, OnKnownPath(guard.condition, guard.line, paths=tuple(paths))]
                    asked = self._followed(waiting[0])
                    found += unproven(asked, axes, agrees)
                    new = _path(asked, waiting[0], axes)
                    paths.append(new)
                    if not is_settled([one for one in waiting if new.takes(one)], agrees):
                        found.append(OffPath(guard.condition, guard.line, path=new))
                    waiting = [one for one in waiting if not new.takes(one)]
        return found

    def _followed(self, sizes: Sizes) -> Sequence[Guard]:
        key = tuple(sorted(sizes.items()))
        if key not in self._seen:
            self._seen[key] = self._follow(sizes)
        return self._seen[key]


def _path(guards: Sequence[Guard], sizes: Mapping[str, int], axes: Mapping[str, Axis]) -> Path:
    """Return the way of these guards. One that cannot be evaluated at its own sizes says nothing of others."""
    turning = (guard for guard in guards if guard.settles and failing_sizes(guard, axes))
    return Path(sizes, axes, tuple(guard for guard in turning if holds_at(guard, sizes, axes)))


def only_at(sizes: Mapping[str, int]) -> list[Guard]:
    """Return guards that hold at these sizes alone."""
    symbols = {name: sympy.Symbol(name, integer=True, positive=True) for name in sizes}
    return [Guard(sympy.Eq(symbols[name], size), "") for name, size in sizes.items()]


def _axes(guards: Sequence[Guard]) -> tuple[str, ...]:
    return tuple(sorted({name for guard in guards for name in guard.axes}))
